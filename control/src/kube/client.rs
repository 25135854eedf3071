//! The client of the API server: who we are there, and how a dead connection is noticed.
//!
//! Made once at the start, before anything is connected; the token file and the certificates are
//! read again by the client as they change. Retries are not its business: each watch has its own.

use std::path::PathBuf;
use std::time::Duration;

use ::kube::client::{Body, ConfigExt};
use ::kube::config::{KubeConfigOptions, Kubeconfig};
use ::kube::{Client, Config};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;
use tower::{BoxError, ServiceBuilder};

/// A connection attempt is given up after this time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed after this time,
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// then this often,
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// and is dead after so many probes without answer: 25 s in all.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Where the API server is and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig; `None` means the files that `KUBECONFIG` names, else the pod's ServiceAccount.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None` is its current one.
    pub context: Option<String>,
}

/// Why there can be no client.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The named kubeconfig cannot be used.
    #[error(
        "the kubeconfig {file} cannot be used: {why}; correct it, or name another with --kubeconfig FILE and --context NAME"
    )]
    Kubeconfig {
        /// Which.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Neither a kubeconfig nor a ServiceAccount.
    #[error(
        "no way to the Kubernetes API: {0}; run in a pod with a ServiceAccount, or name a kubeconfig with --kubeconfig FILE or KUBECONFIG"
    )]
    Nowhere(String),
    /// The credentials or certificates in it cannot be used.
    #[error(
        "the Kubernetes credentials cannot be used: {0}; correct the kubeconfig or the ServiceAccount's mount"
    )]
    Credentials(String),
}

/// A client that connects when it is first used. Must be called on a tokio runtime.
///
/// # Errors
/// The configuration is missing or wrong; that nobody answers is no error here.
pub async fn connect(access: &Access) -> Result<Client, AccessError> {
    let config = config(access).await?;
    tracing::info!("Kubernetes API at {}", config.cluster_url);
    client(&config).map_err(|error| AccessError::Credentials(chain(&error)))
}

async fn config(access: &Access) -> Result<Config, AccessError> {
    let options = KubeConfigOptions { context: access.context.clone(), ..Default::default() };
    let named = access.kubeconfig.as_deref();
    let refused = |why: &dyn std::error::Error| AccessError::Kubeconfig {
        file: named.map_or_else(|| "of KUBECONFIG".to_owned(), |path| path.display().to_string()),
        why: chain(why),
    };
    if let Some(path) = named {
        let read = Kubeconfig::read_from(path).map_err(|error| refused(&error))?;
        let config = Config::from_custom_kubeconfig(read, &options).await;
        return config.map_err(|error| refused(&error));
    }
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let has_file = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    if has_file || access.context.is_some() || !in_pod {
        let config = Config::from_kubeconfig(&options).await;
        return config.map_err(|error| {
            if has_file || access.context.is_some() {
                refused(&error)
            } else {
                AccessError::Nowhere(chain(&error))
            }
        });
    }
    Config::incluster().map_err(|error| AccessError::Nowhere(chain(&error)))
}

fn client(config: &Config) -> Result<Client, ::kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    tcp.set_tcp_user_timeout(Some(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES));
    // Both TLS libraries of the process are this one; a second call only finds it there.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let https = config.rustls_https_connector_with_connector(tcp)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    let http: hyper_util::client::legacy::Client<_, Body> = http.build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}
