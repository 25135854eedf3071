//! The filters of a rule and its backend, applied: one file per filter of the API.
//!
//! Pure functions over heads and compiled rules, called by `exchange`. A rule's filters come first,
//! then those of the chosen backend; a redirect never reaches a backend.

pub mod cors;
pub mod header;
pub mod redirect;
pub mod rewrite;

use crate::ir::{Cors, Filter, HeaderModifier, PathModifier, Redirect, Rewrite};

/// The filters that apply to one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'e> {
    /// Of the rule.
    pub rule: &'e [Filter],
    /// Of the chosen backend.
    pub backend: &'e [Filter],
}

impl<'e> Filters<'e> {
    /// Request header modifiers, in order.
    pub fn request_headers(self) -> impl Iterator<Item = &'e HeaderModifier> + Clone {
        self.all().filter_map(|filter| match filter {
            Filter::RequestHeaderModifier(modifier) => Some(modifier),
            Filter::ResponseHeaderModifier(_)
            | Filter::RequestRedirect(_)
            | Filter::UrlRewrite(_)
            | Filter::RequestMirror(_)
            | Filter::Cors(_)
            | Filter::ExternalAuth(_) => None,
        })
    }

    /// Response header modifiers, in order.
    pub fn response_headers(self) -> impl Iterator<Item = &'e HeaderModifier> + Clone {
        self.all().filter_map(|filter| match filter {
            Filter::ResponseHeaderModifier(modifier) => Some(modifier),
            Filter::RequestHeaderModifier(_)
            | Filter::RequestRedirect(_)
            | Filter::UrlRewrite(_)
            | Filter::RequestMirror(_)
            | Filter::Cors(_)
            | Filter::ExternalAuth(_) => None,
        })
    }

    /// The path that a rewrite puts in place: the backend's, which comes later, else the rule's.
    #[must_use]
    pub fn rewritten_path(self) -> Option<&'e PathModifier> {
        let path = |rewrite: &'e Rewrite| rewrite.path.as_ref();
        rewrites(self.backend).find_map(path).or_else(|| rewrites(self.rule).find_map(path))
    }

    /// The Host that a rewrite puts in place: the backend's, else the rule's.
    #[must_use]
    pub fn rewritten_host(self) -> Option<&'e str> {
        let host = |rewrite: &'e Rewrite| rewrite.hostname.as_deref();
        rewrites(self.backend).find_map(host).or_else(|| rewrites(self.rule).find_map(host))
    }

    /// The cross-origin rules in force: the rule's, else the backend's.
    #[must_use]
    pub fn cors(self) -> Option<&'e Cors> {
        cors_of(self.rule).or_else(|| cors_of(self.backend))
    }

    fn all(self) -> impl Iterator<Item = &'e Filter> + Clone {
        self.rule.iter().chain(self.backend)
    }
}

fn rewrites(filters: &[Filter]) -> impl Iterator<Item = &Rewrite> {
    filters.iter().filter_map(|filter| match filter {
        Filter::UrlRewrite(rewrite) => Some(rewrite),
        Filter::RequestHeaderModifier(_)
        | Filter::ResponseHeaderModifier(_)
        | Filter::RequestRedirect(_)
        | Filter::RequestMirror(_)
        | Filter::Cors(_)
        | Filter::ExternalAuth(_) => None,
    })
}

/// The redirect among `filters`, if any.
#[must_use]
pub fn redirect_of(filters: &[Filter]) -> Option<&Redirect> {
    filters.iter().find_map(|filter| match filter {
        Filter::RequestRedirect(redirect) => Some(redirect),
        Filter::RequestHeaderModifier(_)
        | Filter::ResponseHeaderModifier(_)
        | Filter::UrlRewrite(_)
        | Filter::RequestMirror(_)
        | Filter::Cors(_)
        | Filter::ExternalAuth(_) => None,
    })
}

/// The cross-origin rules among `filters`, if any.
#[must_use]
pub fn cors_of(filters: &[Filter]) -> Option<&Cors> {
    filters.iter().find_map(|filter| match filter {
        Filter::Cors(cors) => Some(cors),
        Filter::RequestHeaderModifier(_)
        | Filter::ResponseHeaderModifier(_)
        | Filter::RequestRedirect(_)
        | Filter::UrlRewrite(_)
        | Filter::RequestMirror(_)
        | Filter::ExternalAuth(_) => None,
    })
}
