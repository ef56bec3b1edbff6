//! The demo's ports, and who listens on one (proc(5), `/proc/net/tcp`).

use std::fs;
use std::net::TcpListener;

use super::Error;
use crate::{api, authorization_server};

/// The port of the gateway in the tutorial's configuration.
const GATEWAY_PORT: u16 = 8080;

/// Where the demo's servers listen, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The gateway, or the first of a fleet.
    pub gateway: u16,
    /// The other gateway of a fleet.
    pub second_gateway: u16,
    /// The authorization server.
    pub authorization_server: u16,
    /// The API.
    pub api: u16,
}

impl Default for Ports {
    /// Those of the tutorial.
    fn default() -> Self {
        Self {
            gateway: GATEWAY_PORT,
            second_gateway: GATEWAY_PORT + 1,
            authorization_server: authorization_server::DEFAULT_PORT,
            api: api::DEFAULT_PORT,
        }
    }
}

impl Ports {
    /// Each with what it is for and the variable of `make` that sets it.
    fn all(&self) -> [(&'static str, &'static str, u16); 4] {
        [
            ("gateway", "GATEWAY_PORT", self.gateway),
            ("second gateway", "SECOND_GATEWAY_PORT", self.second_gateway),
            ("authorization server", "AUTHORIZATION_SERVER_PORT", self.authorization_server),
            ("API", "API_PORT", self.api),
        ]
    }

    /// The port that an option of this name sets, such as `--api-port`.
    pub fn option(&mut self, name: &str) -> Option<&mut u16> {
        match name {
            "--gateway-port" => Some(&mut self.gateway),
            "--second-gateway-port" => Some(&mut self.second_gateway),
            "--authorization-server-port" => Some(&mut self.authorization_server),
            "--api-port" => Some(&mut self.api),
            _ => None,
        }
    }

    /// Checks that the ports are free, that of the second gateway only in a fleet.
    pub(super) fn check(&self, fleet: bool) -> Result<(), Error> {
        for (part, variable, port) in self.all() {
            if (fleet || part != "second gateway") && taken(port) {
                return Err(Error::PortTaken { part, variable, port, holder: holder(port) });
            }
        }
        Ok(())
    }

    /// A configuration with these ports in place of the tutorial's, where it names the demo's servers:
    /// an authorization server of one's own may have the port that the gateway had.
    pub(super) fn put_into(&self, configuration: &str) -> String {
        let old = Self::default();
        let server = |port| format!("127.0.0.1:{port}{}", authorization_server::INTROSPECTION_PATH);
        let places = [
            (
                "listen ",
                format!("127.0.0.1:{};", old.gateway),
                format!("127.0.0.1:{};", self.gateway),
            ),
            (
                "phantom_token_introspection_endpoint ",
                server(old.authorization_server),
                server(self.authorization_server),
            ),
            ("proxy_pass ", format!("127.0.0.1:{};", old.api), format!("127.0.0.1:{};", self.api)),
        ];
        let moved = |line: &str| {
            let mut places = places.iter();
            let place = places.find(|(directive, ..)| line.trim_start().starts_with(directive));
            place.map_or(line.to_owned(), |(_, old, new)| line.replacen(old, new, 1))
        };
        configuration.split_inclusive('\n').map(moved).collect()
    }
}

/// Whether something listens on a port where a server on 127.0.0.1 would not come through.
pub(super) fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// Name and process id of who listens, where we may know.
pub(super) fn holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.to_str() == Some(inode)));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// The sockets, as the links in `/proc/PID/fd` name them, that listen on a port.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            (local.ends_with(&wanted) && *state == LISTEN).then(|| format!("socket:[{inode}]"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::close;

    #[test]
    fn ports_may_change_places() {
        let tutorial = include_str!("../../../nginx-conf/tutorial.conf");
        assert_eq!(Ports::default().put_into(tutorial), tutorial);
        let ports =
            Ports { gateway: 3000, second_gateway: 1, authorization_server: 8080, api: 9090 };
        let moved = ports.put_into(tutorial);
        for line in [
            "listen 127.0.0.1:3000;",
            "phantom_token_introspection_endpoint http://127.0.0.1:8080/oauth/v2/oauth-introspect;",
            "proxy_pass http://127.0.0.1:9090;",
        ] {
            assert!(moved.contains(line), "{moved}");
        }
        // Those of somebody's own stay.
        for own in [
            "proxy_pass http://127.0.0.1:30001;",
            "phantom_token_introspection_endpoint http://127.0.0.1:8080/realms/a;",
            "listen 127.0.0.1:9090;",
        ] {
            assert_eq!(ports.put_into(own), own);
        }
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(taken(port));
        let pid = std::process::id();
        assert!(holder(port).unwrap().ends_with(&format!("(process {pid})")));
        close(listener);
        assert!(!taken(port));
    }
}
