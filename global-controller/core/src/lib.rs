//! global-controller-core
