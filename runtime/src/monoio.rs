//! monoio
