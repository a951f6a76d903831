//! meeting-controller-core
