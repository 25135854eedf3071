//! The canonical path: RFC 3986 section 6.2.2 normalisation with the refusals of the public policy.
