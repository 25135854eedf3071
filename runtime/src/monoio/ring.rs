//! Sets up a shard's ring: the flags that pay, and sizes that fit the memlock limit.
//!
//! The flags, measured against a ring without any: SINGLE_ISSUER with DEFER_TASKRUN saves about a
//! tenth of the CPU of a proxied request. `probe` sets up its trial ring with the very same builder.

use std::io;
use std::time::Duration;

use ::monoio::time::TimeDriver;
use ::monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use crate::{StartError, probe};

/// Submission entries unless the options say otherwise.
const ENTRIES_DEFAULT: u32 = 4096;
/// monoio takes no smaller ring.
const ENTRIES_MIN: u32 = 256;
/// The kernel takes no larger submission queue.
const ENTRIES_MAX: u32 = 32_768;
/// Completion entries for each submission entry: a burst of completions must not overflow.
const COMPLETIONS_PER_ENTRY: u32 = 4;
/// Locked memory of a process that has just ended is given back late: how often, and how long, to
/// wait for it.
const MEMLOCK_RETRY_MAX: u32 = 20;
const MEMLOCK_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A ring like a shard's, to see whether one can be had.
pub(crate) fn trial(entries: u32) -> io::Result<io_uring::IoUring> {
    builder(entries).build(entries)
}

/// Settings of every ring of ours, for `entries` submissions.
fn builder(entries: u32) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(entries * COMPLETIONS_PER_ENTRY);
    builder
}

/// A runtime whose ring has `entries` submissions (0: the default), or as many fewer as the memlock
/// limit leaves room for.
pub(super) fn runtime(entries: u32) -> Result<Runtime<TimeDriver<IoUringDriver>>, StartError> {
    let wanted = if entries == 0 { ENTRIES_DEFAULT } else { entries };
    shrinking(wanted, build).map_err(|error| probe::explain(&error))
}

fn build(entries: u32) -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(builder(entries))
        .with_entries(entries)
        .enable_timer()
        .build()
}

/// Halves `entries` while the memory does not suffice, then waits a little at the smallest size.
fn shrinking<T>(wanted: u32, mut build: impl FnMut(u32) -> io::Result<T>) -> io::Result<T> {
    let mut entries = wanted.clamp(ENTRIES_MIN, ENTRIES_MAX).next_power_of_two();
    let mut retries = 0;
    loop {
        match build(entries) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                if entries > ENTRIES_MIN {
                    entries /= 2;
                } else if retries < MEMLOCK_RETRY_MAX {
                    retries += 1;
                    std::thread::sleep(MEMLOCK_RETRY_PAUSE);
                } else {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_does_not_fit_is_halved_until_it_does() {
        let mut tried = Vec::new();
        let fitted = shrinking(4096, |entries| {
            tried.push(entries);
            if entries > 512 {
                Err(io::Error::from_raw_os_error(libc::ENOMEM))
            } else {
                Ok(entries)
            }
        });
        assert_eq!((fitted.unwrap(), tried), (512, vec![4096, 2048, 1024, 512]));
    }

    #[test]
    fn any_other_error_is_final() {
        let mut tries = 0;
        let refused = shrinking::<()>(4096, |_| {
            tries += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        });
        assert_eq!((refused.unwrap_err().raw_os_error(), tries), (Some(libc::EPERM), 1));
    }

    #[test]
    fn odd_sizes_become_ones_that_a_ring_can_have() {
        assert_eq!(shrinking(1, Ok).unwrap(), ENTRIES_MIN);
        assert_eq!(shrinking(1000, Ok).unwrap(), 1024);
        assert_eq!(shrinking(u32::MAX, Ok).unwrap(), ENTRIES_MAX);
    }
}
