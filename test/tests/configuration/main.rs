//! What `nginx -t` says of configurations: what is wrong, or doubtful, with its directive, its line, and
//! what to write.

mod crossed;
mod faults;
mod values;
mod warnings;
