//! The test rig of ngx-phantom-token.
