//! Locations with different policies, generated, and as NGINX's configuration.

use phantom_token_test::random::Random;

/// `phantom_token_allow_options`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Options {
    On,
    Preflight,
    Off,
}

/// `phantom_token_cache_control`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Control {
    Cap,
    Strict,
    Ignore,
}

/// Locations of one group ask the same server as the same client, so they share answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) number: usize,
    pub(crate) forwards_jwt: bool,
    pub(crate) control: Control,
    /// `phantom_token_token_type_hint`.
    pub(crate) hint: Option<&'static str>,
    /// Its server refuses the gateway's own credentials, always.
    pub(crate) refuses_us: bool,
}

/// One location.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) number: usize,
    pub(crate) group: Group,
    pub(crate) scope: &'static [&'static str],
    /// `None`: as it comes, which is `api`.
    pub(crate) realm: Option<&'static str>,
    pub(crate) metadata: Option<&'static str>,
    pub(crate) options: Options,
    pub(crate) passes_bound: bool,
    /// `phantom_token_kind`; `None`: as it comes, which is `access`.
    pub(crate) kind: Option<&'static str>,
    pub(crate) vschar: bool,
    /// The token comes in a variable, here the header `X-Token`.
    pub(crate) bare: bool,
    pub(crate) cache: bool,
    /// Whether active answers are kept, where there is a cache.
    pub(crate) keeps_active: bool,
    pub(crate) keeps_inactive: bool,
    /// `phantom_token_phase preaccess`: it changes nothing that the model knows.
    pub(crate) before_limits: bool,
}

const METADATA: &str = "https://api.example.com/.well-known/oauth-protected-resource";

impl Policy {
    fn generate(random: &mut Random, number: usize, group: Group) -> Self {
        let scope: &[&str] = random.of(&[&[][..], &[], &["read"], &["read", "write"]]);
        let metadata = random.one_in(3).then_some(METADATA);
        let mut realm = random.of(&[None, None, Some("my api"), Some("")]);
        if scope.is_empty() && metadata.is_none() && realm == Some("") {
            realm = None; // a challenge needs one parameter
        }
        Self {
            number,
            group,
            scope,
            realm,
            metadata,
            options: random.of(&[Options::On, Options::Preflight, Options::Off]),
            passes_bound: random.one_in(2),
            kind: random.of(&[None, None, Some("access"), Some("declared"), Some("any")]),
            vschar: random.one_in(3),
            bare: random.one_in(4),
            cache: !random.one_in(4),
            keeps_active: !random.one_in(4),
            keeps_inactive: random.one_in(2),
            before_limits: random.one_in(3),
        }
    }

    /// `groups` groups of `each` locations, and one of two whose server refuses us.
    pub(crate) fn all(random: &mut Random, groups: usize, each: usize) -> Vec<Self> {
        let mut policies = Vec::new();
        for number in 0..=groups {
            let refuses_us = number == groups;
            let group = Group {
                number,
                forwards_jwt: !random.one_in(3),
                control: random.of(&[Control::Cap, Control::Cap, Control::Strict, Control::Ignore]),
                hint: random.of(&[None, Some("access_token"), Some("refresh_token")]),
                refuses_us,
            };
            for _ in 0..if refuses_us { 2 } else { each } {
                policies.push(Self::generate(random, policies.len(), group));
            }
        }
        policies
    }

    pub(crate) fn path(&self) -> String {
        format!("/location-{}/", self.number)
    }

    /// The location's directives.
    pub(crate) fn text(&self, server_port: u16, introspection_path: &str, api: &str) -> String {
        let mut text = String::from("phantom_token on");
        if self.bare {
            text.push_str(" token=$http_x_token");
        }
        text.push_str(";\n");
        let mut add = |name: &str, value: &str| {
            text.push_str(&format!("phantom_token_{name} {value};\n"));
        };
        add(
            "introspection_endpoint",
            &format!(
                "http://group-{}.invalid{introspection_path} connect=127.0.0.1:{server_port} \
                 max_fails=0",
                self.group.number
            ),
        );
        let on = |on: bool, yes: &'static str, no: &'static str| if on { yes } else { no };
        add("forward", on(self.group.forwards_jwt, "jwt", "none"));
        if let Some(hint) = self.group.hint {
            add("token_type_hint", hint);
        }
        if self.before_limits {
            add("phase", "preaccess");
        }
        add("bound_tokens", on(self.passes_bound, "pass", "reject"));
        add("token_syntax", on(self.vschar, "vschar", "b64token"));
        add("cache_valid", on(self.keeps_active, "3000s", "0"));
        add("cache_inactive_valid", on(self.keeps_inactive, "3000s", "0"));
        add("cache_bypass", "$http_x_refresh");
        add("bypass", "$bypass_of_request");
        add(
            "allow_options",
            match self.options {
                Options::On => "on",
                Options::Preflight => "preflight",
                Options::Off => "off",
            },
        );
        add(
            "cache_control",
            match self.group.control {
                Control::Cap => "cap",
                Control::Strict => "strict",
                Control::Ignore => "ignore",
            },
        );
        if let Some(kind) = self.kind {
            add("kind", kind);
        }
        if !self.cache {
            add("cache", "off");
        }
        if !self.scope.is_empty() {
            add("scope", &format!("\"{}\"", self.scope.join(" ")));
        }
        if let Some(realm) = self.realm {
            add("realm", &format!("\"{realm}\""));
        }
        if let Some(metadata) = self.metadata {
            add("resource_metadata", metadata);
        }
        format!("{text}proxy_pass {api};\n")
    }
}
