//! The gateways of one comparison and their neighbours.

use std::path::{Path, PathBuf};

use phantom_token_test::nginx;
use phantom_token_test::port;
use phantom_token_test::tls::Identity;

use super::{JWT, progress};
use crate::affinity::{self, Apart};
use crate::gateway::{Gateway, Kind, Recipe};
use crate::jwt;
use crate::load::{Tokens, Wrk};
use crate::recipes;
use crate::report::{Report, Short};
use crate::server::Server;
use crate::settings::{self, Settings};
use crate::stats::{Spread, median};

/// Connections of the load.
pub(super) const CONNECTIONS: usize = 64;
/// Threads of the pool that the module makes.
pub(super) const THREADS: u32 = 64;

/// The neighbours, and the gateways of one comparison; the first is plain NGINX, the second the
/// module.
pub(super) struct Stage {
    pub(super) jwt: String,
    pub(super) server: Server,
    api: Gateway,
    /// TLS before the authorization server, where a gateway asks for it.
    tls: Option<Gateway>,
    apart: Option<Apart>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) wrk: Wrk,
}

/// The programs that are run.
pub(super) struct Programs {
    pub(super) nginx: PathBuf,
    pub(super) module: PathBuf,
    debian: Option<(PathBuf, PathBuf, String)>,
}

impl Programs {
    pub(super) fn find() -> Self {
        let debian = settings::debian_nginx().zip(settings::debian_modules());
        Self {
            nginx: nginx::binary(),
            module: nginx::module(),
            debian: debian.map(|(binary, root)| {
                let libraries = recipes::library_path(&root);
                (binary, root, libraries)
            }),
        }
    }
}

/// CPU per request of one gateway, and in proportion to plain NGINX's of the same round.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    us: f64,
    ratio: Spread,
}

impl Cost {
    /// For a table.
    fn cell(&self) -> String {
        format!("{:.1} ({})", self.us, self.ratio.show(2))
    }
}

impl Stage {
    /// Starts the neighbours, plain NGINX and the module.
    pub(super) fn set(settings: &Settings, threads: u32) -> Result<Self, String> {
        let programs = Programs::find();
        let jwt = jwt::of_length(JWT);
        let apart = Apart::new();
        let ports = settings.peer.as_ref().map(|peer| peer.ports);
        let (api, server) = ports.unwrap_or_else(|| (port::free(), 0));
        let server = Server::start(&jwt, server)
            .map_err(|error| format!("the authorization server: {error}"))?;
        let api = Gateway::start_at(&recipes::api(&programs.nginx, &jwt), api, 9, "")?;
        let wrk = Wrk::new(&jwt)?;
        let gateways = Vec::new();
        let mut stage = Self { jwt, server, api, tls: None, apart, gateways, wrk };
        stage.add(&recipes::plain(&programs.nginx))?;
        stage.add_build("phantom token", &programs.module, threads)?;
        Ok(stage)
    }

    /// Starts all others besides.
    pub(super) fn with_others(mut self, settings: &Settings) -> Result<Self, String> {
        let Programs { nginx, debian, .. } = Programs::find();
        let server = self.server.port();
        self.add(&recipes::plain_large_buffer(&nginx))?;
        let jwt = self.jwt.clone();
        self.add(&recipes::constant(&nginx, &jwt))?;
        self.add(&recipes::auth_request(&nginx, server))?;
        if let Some((binary, root, libraries)) = debian {
            self.add(&recipes::plain_debian(&binary))?;
            self.add(&recipes::njs(&binary, &root, server))?;
            self.add(&recipes::lua(&binary, &root, &libraries, server))?;
        }
        self.gateways.extend(settings.peer.iter().map(Gateway::peer));
        Ok(self)
    }

    /// Starts a build of the module with so many threads.
    pub(super) fn add_build(
        &mut self,
        name: &'static str,
        module: &Path,
        threads: u32,
    ) -> Result<(), String> {
        let nginx = nginx::binary();
        let recipe = recipes::module(&nginx, module, self.server.port(), threads);
        self.add(&Recipe { name, ..recipe })
    }

    /// Starts the module once more, asking over TLS.
    pub(super) fn add_module_tls(&mut self, threads: u32) -> Result<(), String> {
        let Programs { nginx, module, .. } = Programs::find();
        let Identity { certificate, key } = Identity::self_signed(&["localhost"]);
        let tls = recipes::tls(&nginx, self.server.port(), (&certificate, &key));
        let tls = Gateway::start(&tls, self.api.port(), "")?;
        self.add(&recipes::module_tls(&nginx, &module, tls.port(), &certificate, threads))?;
        self.tls = Some(tls);
        Ok(())
    }

    /// Starts the module once more, signing JWTs.
    pub(super) fn add_module_minting(&mut self, threads: u32) -> Result<(), String> {
        let Programs { nginx, module, .. } = Programs::find();
        self.add(&recipes::module(&nginx, &module, self.server.port(), threads).minting())
    }

    /// Starts one more gateway.
    pub(super) fn add(&mut self, recipe: &Recipe<'_>) -> Result<(), String> {
        let affinity = if self.apart.is_some() { affinity::GATEWAY } else { "" };
        self.gateways.push(Gateway::start(recipe, self.api.port(), affinity)?);
        Ok(())
    }

    /// The module's gateway.
    pub(super) fn module(&self) -> &Gateway {
        &self.gateways[1]
    }

    /// Those that ask for the JWT.
    pub(super) fn swapping(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.iter().filter(|gateway| gateway.kind == Kind::Swaps)
    }

    /// What a request costs in every gateway.
    pub(super) fn compare(
        &self,
        settings: &Settings,
        tokens: impl Fn(usize) -> Tokens,
    ) -> Result<Vec<Cost>, String> {
        let mut costs = vec![Vec::new(); self.gateways.len()];
        for round in 0..settings.pairs {
            for (n, gateway) in self.gateways.iter().enumerate() {
                let tokens = tokens(round * self.gateways.len() + n);
                let run = self.wrk.run(gateway, tokens, CONNECTIONS, settings.duration)?;
                costs[n].push(run.cpu_us);
            }
            let shown: Vec<String> = costs.iter().map(|of| format!("{:.1}", of[round])).collect();
            progress(&format!("round {}: {} us", round + 1, shown.join(", ")));
        }
        let cost = |of: &Vec<f64>| {
            let ratios: Vec<f64> =
                of.iter().zip(&costs[0]).map(|(one, plain)| one / plain).collect();
            Cost { us: median(of), ratio: Spread::of(&ratios) }
        };
        Ok(costs.iter().map(cost).collect())
    }

    /// A row for each gateway.
    pub(super) fn rows(&self, results: &[Vec<Cost>]) -> Vec<Vec<String>> {
        self.gateways
            .iter()
            .enumerate()
            .map(|(n, gateway)| {
                let cells =
                    results.iter().map(|result| result.get(n).map_or("–".into(), Cost::cell));
                std::iter::once(gateway.name.to_owned()).chain(cells).collect()
            })
            .collect()
    }

    /// The ratios, for the README.
    pub(super) fn short(&self, report: &mut Report, column: Short, results: &[Cost]) {
        for (gateway, cost) in self.gateways.iter().zip(results) {
            report.short(gateway.name, column, format!("{:.2}", cost.ratio.median));
        }
    }
}
