//! Looks names up for calls, and answers with public addresses alone. In: the name in a URL. Out: addresses to connect to, each of them checked.
//!
//! The connection goes to what was checked here: there is no second look-up in which a name could lead elsewhere. If one address of an
//! answer is inside, the whole answer is refused: nobody honest mixes them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// Addresses of one name that are tried; the others are left out.
const ADDRESSES_MAX: usize = 16;

/// Looks a name up.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// A name, or an address in a URL, leads somewhere that may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the host is not on the public internet")]
pub struct NotPublic;

/// See the module.
#[derive(Clone)]
pub struct CheckedResolver {
    lookup: Lookup,
    allowed: fn(IpAddr) -> bool,
}

impl CheckedResolver {
    /// Asks `lookup`, and gives out what is `allowed`.
    pub fn new(lookup: Lookup, allowed: fn(IpAddr) -> bool) -> Self {
        Self { lookup, allowed }
    }
}

/// Asks the operating system.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    })
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allowed) = ((self.lookup)(name.as_str().to_owned()), self.allowed);
        Box::pin(async move {
            let found = found.await?;
            if !found.iter().all(|address| allowed(*address)) {
                return Err(NotPublic.into());
            }
            // Port 0 stands for the one in the URL.
            let addresses: Addrs = Box::new(found.into_iter().take(ADDRESSES_MAX).map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(answer: &[&str]) -> Result<Vec<String>, String> {
        let answer: Vec<IpAddr> = answer.iter().map(|text| text.parse().expect("an address")).collect();
        let lookup: Lookup = Arc::new(move |_| Box::pin(std::future::ready(Ok(answer.clone()))));
        let resolver = CheckedResolver::new(lookup, global_controller_core::address::is_public);
        let addresses = resolver.resolve("example.com".parse().expect("a name")).await.map_err(|error| error.to_string())?;
        Ok(addresses.map(|address| address.to_string()).collect())
    }

    #[tokio::test]
    async fn one_address_inside_spoils_the_answer() {
        assert_eq!(resolved(&["8.8.8.8", "2606:4700::1"]).await, Ok(vec!["8.8.8.8:0".to_owned(), "[2606:4700::1]:0".to_owned()]));
        let refused = Err("the host is not on the public internet".to_owned());
        assert_eq!(resolved(&["127.0.0.1"]).await, refused);
        assert_eq!(resolved(&["8.8.8.8", "10.0.0.1"]).await, refused);
        assert_eq!(resolved(&["::ffff:169.254.169.254"]).await, refused);
        assert_eq!(resolved(&[]).await, Ok(vec![]));
    }
}
