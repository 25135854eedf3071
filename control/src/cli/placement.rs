//! How many shards, and on which cores.
//!
//! Pure: what the machine has is an argument. Called by `main.rs` before the shards start.

use thiserror::Error;

/// From this many usable cores on, one is left to the control thread.
pub const SPARE_FROM_CORES: usize = 4;

/// Why the wish cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// More shards than named cores.
    #[error(
        "--shards {shards} does not fit on {cores} cores of --cores; name more or ask for fewer"
    )]
    TooFew {
        /// Shards asked for.
        shards: usize,
        /// Cores named.
        cores: usize,
    },
    /// A core that this process may not use.
    #[error("core {core} of --cores may not be used here; usable are {usable}")]
    NotUsable {
        /// Which.
        core: usize,
        /// The usable ones as a list.
        usable: String,
    },
}

/// The core of each shard, `None` where the kernel shall choose.
///
/// Without `--cores`, `threads` (whole cores' worth of the cgroup's quota, if there is one) bounds
/// the default; more shards than cores are not pinned.
///
/// # Errors
/// The wish does not fit the machine.
pub fn place(
    shards: Option<usize>,
    cores: Option<&[usize]>,
    usable: &[usize],
    threads: Option<usize>,
) -> Result<Vec<Option<usize>>, Error> {
    if let Some(cores) = cores {
        if let Some(&core) = cores.iter().find(|core| !usable.contains(core)) {
            return Err(Error::NotUsable { core, usable: list(usable) });
        }
        let shards = shards.unwrap_or(cores.len());
        if shards > cores.len() {
            return Err(Error::TooFew { shards, cores: cores.len() });
        }
        return Ok(cores[..shards].iter().copied().map(Some).collect());
    }
    let room = threads.map_or(usable.len(), |threads| threads.min(usable.len())).max(1);
    let wanted = shards.unwrap_or(if room >= SPARE_FROM_CORES { room - 1 } else { room });
    if wanted > usable.len() {
        return Ok(vec![None; wanted]);
    }
    // The first cores usually take the interrupts; the spare core for control is the first one.
    let spare = usize::from(wanted < usable.len());
    Ok(usable[spare..].iter().take(wanted).copied().map(Some).collect())
}

/// Numbers as a list with ranges: `2-5,8`.
#[must_use]
pub fn list(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            Some(_) | None => parts.push((core, core)),
        }
    }
    let words =
        parts.iter().map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        );
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(cores: &[usize]) -> Vec<Option<usize>> {
        cores.iter().copied().map(Some).collect()
    }

    #[test]
    fn one_core_is_left_to_control_from_four_on() {
        assert_eq!(place(None, None, &[0, 1], None), Ok(some(&[0, 1])));
        assert_eq!(place(None, None, &[0, 1, 2, 3], None), Ok(some(&[1, 2, 3])));
    }

    #[test]
    fn the_quota_bounds_the_default_only() {
        let usable = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(place(None, None, &usable, Some(2)).unwrap().len(), 2);
        assert_eq!(place(Some(6), None, &usable, Some(2)).unwrap().len(), 6);
    }

    #[test]
    fn shards_are_pinned_in_the_order_of_the_list() {
        assert_eq!(place(Some(2), Some(&[5, 2, 3]), &[2, 3, 5], None), Ok(some(&[5, 2])));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        assert_eq!(
            place(Some(3), Some(&[1]), &[0, 1], None),
            Err(Error::TooFew { shards: 3, cores: 1 })
        );
        let error = place(None, Some(&[9]), &[0, 1, 2, 5], None).unwrap_err();
        assert!(error.to_string().contains("usable are 0-2,5"), "{error}");
    }

    #[test]
    fn more_shards_than_cores_float() {
        assert_eq!(place(Some(3), None, &[0, 1], None), Ok(vec![None, None, None]));
    }
}
