//! What the servers that are projects of Django have in common: a virtual environment, a folder with
//! `settings.py` and `server.py`, a database of the site, and gunicorn.

use std::process::Command;

use super::{Home, Process, Site, Web, folder};

/// A project.
#[derive(Clone)]
pub(super) struct Project {
    /// The server's name.
    name: &'static str,
    home: std::path::PathBuf,
    site: std::path::PathBuf,
}

impl Project {
    /// Its data are the site's.
    pub(super) fn new(name: &'static str, home: &Home, site: &Site) -> Self {
        Self { name, home: home.join("venv/bin"), site: site.directory.clone() }
    }

    /// A command of the virtual environment, in the project's folder.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.home.join(program));
        command.env("SITE", &self.site).env("PYTHONDONTWRITEBYTECODE", "1");
        command.current_dir(folder(self.name));
        command
    }

    /// Serves it at the site with 2 processes of 8 threads. `path` is one of its pages.
    ///
    /// # Errors
    /// Those of [`Process::start`].
    pub(super) fn serve(
        &self,
        site: &Site,
        path: &str,
        environment: &[(&'static str, &'static str)],
    ) -> Result<Process, String> {
        let mut arguments = vec![format!("--bind=127.0.0.1:{}", site.port)];
        if let Some(tls) = &site.tls {
            arguments.push(format!("--certfile={}", tls.certificate.display()));
            arguments.push(format!("--keyfile={}", tls.key.display()));
        }
        let (project, environment) = (self.clone(), environment.to_vec());
        let (probe, page) = (Web::new(&site.directory), format!("{}{path}", site.url()));
        Process::start(
            &site.directory.join("log"),
            move || {
                let mut gunicorn = project.command("gunicorn");
                gunicorn.envs(environment.iter().copied()).args(["--workers=2", "--threads=8"]);
                gunicorn.args(&arguments).arg("server:application");
                gunicorn
            },
            move || probe.answers(&page),
        )
    }
}
