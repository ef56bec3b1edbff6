//! The real program against servers as there are, and what it prints in a real NGINX.

mod faults;
mod hostile;
mod options;
mod pasted;
mod program;
mod real;
mod shapes;
