//! NGINX module for the Phantom Token pattern.
