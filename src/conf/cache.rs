//! The zones that answers are kept in, and the module's own.

use crate::nginx::parser::{Cf, ConfError, ConfigLine};
use crate::nginx::zone::{StateZone, Zone, ZoneRef};

/// The zone that is used, and made, where none is named.
pub(super) const DEFAULT_ZONE: &str = "phantom_token";
const DEFAULT_ZONE_SIZE: usize = 10 * 1024 * 1024;

impl Cf<'_> {
    /// The zone a location names, which must be declared somewhere, but for the default one.
    pub(super) fn cache_zone(
        &mut self,
        name: &str,
        line: &ConfigLine,
    ) -> Result<ZoneRef, ConfError> {
        let found = self.main_conf().zones.iter().find(|zone| zone.name() == name).cloned();
        match found {
            Some(zone) => Ok(zone),
            None if name == DEFAULT_ZONE => {
                let zone = Zone::declare(self, name, DEFAULT_ZONE_SIZE)?;
                self.main_conf().zones.push(zone.clone());
                Ok(zone)
            }
            None => Err(ConfError::Whole(format!(
                "\"phantom_token_cache\" names the zone \"{name}\", which is not declared, in {line}: write phantom_token_cache_zone zone={name}:10m in http"
            ))),
        }
    }

    /// Adds the state zone to the configuration, once.
    pub(super) fn use_state_zone(&mut self) -> Result<(), ConfError> {
        if self.main_conf().state.is_none() {
            let zone = StateZone::declare(self)?;
            self.main_conf().state = Some(zone);
        }
        Ok(())
    }
}
