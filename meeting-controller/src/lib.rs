//! meeting-controller
