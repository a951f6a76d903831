//! media-handler-core
