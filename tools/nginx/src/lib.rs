//! Holds no code: this package exists for its `Cargo.toml` and `Cargo.lock`, which pin the NGINX
//! source that `tools/build-nginx` builds.
