//! How many shards, and on which cores.
//!
//! Pure: what the machine has is an argument. Called by `main.rs` before the shards start.

use runtime::cores::{CoreId, Usable};
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
/// Without `--cores`, whole physical cores come first; the cgroup's quota bounds the default, and
/// more shards than cores are not pinned.
///
/// # Errors
/// The wish does not fit the machine.
pub fn place(
    shards: Option<usize>,
    cores: Option<&[CoreId]>,
    usable: &Usable,
) -> Result<Vec<Option<CoreId>>, Error> {
    if let Some(cores) = cores {
        if let Some(CoreId(core)) = usable.first_unusable(cores) {
            let ids: Vec<CoreId> = usable.cores.iter().map(|core| core.id).collect();
            return Err(Error::NotUsable { core, usable: list(&ids) });
        }
        let shards = shards.unwrap_or(cores.len());
        if shards > cores.len() {
            return Err(Error::TooFew { shards, cores: cores.len() });
        }
        return Ok(cores[..shards].iter().copied().map(Some).collect());
    }
    let wanted = shards.unwrap_or_else(|| default_shards(usable.count()));
    if wanted > usable.cores.len() {
        return Ok(vec![None; wanted]);
    }
    Ok(usable.choose(wanted).into_iter().map(Some).collect())
}

/// One per core, but one core's worth for the control thread where that is little.
fn default_shards(cores: usize) -> usize {
    if cores >= SPARE_FROM_CORES { cores - 1 } else { cores }
}

/// Numbers as a list with ranges: `2-5,8`.
#[must_use]
pub fn list(cores: &[CoreId]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &CoreId(core) in cores {
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

    use runtime::cores::{Core, Quota};

    fn ids(cores: &[usize]) -> Vec<CoreId> {
        cores.iter().copied().map(CoreId).collect()
    }

    fn some(cores: &[usize]) -> Vec<Option<CoreId>> {
        ids(cores).into_iter().map(Some).collect()
    }

    /// A machine with these cores, each with the number of its thread.
    fn machine(cores: &[(usize, usize)]) -> Usable {
        let cores = cores.iter().map(|&(id, thread)| Core { id: CoreId(id), thread });
        Usable { cores: cores.collect(), quota: None }
    }

    #[test]
    fn one_core_is_left_to_control_from_four_on() {
        assert_eq!(place(None, None, &machine(&[(0, 0), (1, 0)])), Ok(some(&[0, 1])));
        let four = machine(&[(0, 0), (1, 0), (2, 0), (3, 0)]);
        assert_eq!(place(None, None, &four), Ok(some(&[0, 1, 2])));
    }

    #[test]
    fn whole_physical_cores_come_first_and_control_has_a_thread() {
        let smt = machine(&[(0, 0), (1, 1), (2, 0), (3, 1)]);
        assert_eq!(place(None, None, &smt), Ok(some(&[0, 2, 1])));
        assert_eq!(place(Some(2), None, &smt), Ok(some(&[0, 2])));
    }

    #[test]
    fn the_quota_bounds_the_default_only() {
        let mut eight = machine(&[0, 1, 2, 3, 4, 5, 6, 7].map(|id| (id, 0)));
        eight.quota = Some(Quota { micros: 150_000, period: 100_000 });
        assert_eq!(place(None, None, &eight).unwrap().len(), 2);
        assert_eq!(place(Some(6), None, &eight).unwrap().len(), 6);
    }

    #[test]
    fn shards_are_pinned_in_the_order_of_the_list() {
        let usable = machine(&[(2, 0), (3, 0), (5, 0)]);
        assert_eq!(place(Some(2), Some(&ids(&[5, 2, 3])), &usable), Ok(some(&[5, 2])));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        assert_eq!(
            place(Some(3), Some(&ids(&[1])), &machine(&[(0, 0), (1, 0)])),
            Err(Error::TooFew { shards: 3, cores: 1 })
        );
        let usable = machine(&[(0, 0), (1, 0), (2, 0), (5, 0)]);
        let error = place(None, Some(&ids(&[9])), &usable).unwrap_err();
        assert!(error.to_string().contains("usable are 0-2,5"), "{error}");
    }

    #[test]
    fn more_shards_than_cores_float() {
        let two = machine(&[(0, 0), (1, 0)]);
        assert_eq!(place(Some(3), None, &two), Ok(vec![None, None, None]));
    }
}
