//! Whether io_uring works here, and if not, why and what to do.

use std::io;

use crate::StartError;

/// Why a ring could not be set up, and the remedy.
pub(crate) fn explain(error: &io::Error) -> StartError {
    StartError::Uring { cause: error.to_string(), remedy: "see `ringway doctor`" }
}
