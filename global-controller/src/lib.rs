//! global-controller
