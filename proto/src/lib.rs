//! The wire: generated messages and services, and their conversions to the words of `common-core`.
//!
//! `darktower/` holds the one source of the contract; it changes by addition only. Servers meet here and nowhere else:
//! a conversion that two of them need is in [`convert`].

pub mod convert;

/// Generated, one module per package, nested as the packages are.
mod darktower {
    #![allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated from the contract")]

    pub mod v1 {
        tonic::include_proto!("darktower.v1");
    }

    pub mod cluster {
        pub mod v1 {
            tonic::include_proto!("darktower.cluster.v1");
        }
    }
}

/// What nodes speak among themselves.
pub use darktower::cluster::v1 as cluster;
/// What clients speak: signaling and media control.
pub use darktower::v1;

/// The version that every message carries.
pub const VERSION: u32 = 1;
