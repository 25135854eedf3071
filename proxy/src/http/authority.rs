//! Host and port of a request: RFC 9110 section 7.2, RFC 3986 section 3.2.
