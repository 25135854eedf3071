//! Lists of cores as the kernel and our command line write them: `2-5,8`.

use thiserror::Error;

use super::CoreId;

/// The highest core number a thread can be pinned to.
pub const CORE_MAX: usize = libc::CPU_SETSIZE as usize - 1;

/// What is wrong with a list of cores.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// There is nothing in it, or nothing between two commas.
    #[error("a core number is missing; write a list such as 2-5,8")]
    Missing,
    /// Neither a number nor a range.
    #[error("`{0}` is not a core number; write a list such as 2-5,8")]
    NotANumber(String),
    /// A range whose end is before its start.
    #[error("the range `{0}` runs backwards")]
    Backwards(String),
    /// No kernel numbers its cores so high.
    #[error("there is no core {0}; the highest possible is {CORE_MAX}")]
    TooHigh(usize),
    /// A core is named more than once.
    #[error("core {0} is named twice")]
    Twice(usize),
}

/// The cores of `text`, in its order, each once.
///
/// # Errors
/// [`ListError`] names the part that is wrong.
pub fn parse(text: &str) -> Result<Vec<CoreId>, ListError> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = range(part.trim())?;
        for core in first..=last {
            if cores.contains(&CoreId(core)) {
                return Err(ListError::Twice(core));
            }
            cores.push(CoreId(core));
        }
    }
    Ok(cores)
}

fn range(part: &str) -> Result<(usize, usize), ListError> {
    let number = |text: &str| -> Result<usize, ListError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.is_empty() {
            return Err(ListError::NotANumber(part.to_owned()));
        }
        let core = text.parse().unwrap_or(usize::MAX);
        if core > CORE_MAX { Err(ListError::TooHigh(core)) } else { Ok(core) }
    };
    if part.is_empty() {
        return Err(ListError::Missing);
    }
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(ListError::Backwards(part.to_owned())) } else { Ok((first, last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_keep_their_order() {
        let ids = |list: &str| parse(list).unwrap().iter().map(|core| core.0).collect::<Vec<_>>();
        assert_eq!(ids("2-5,8"), [2, 3, 4, 5, 8]);
        assert_eq!(ids(" 7 , 0-1\n"), [7, 0, 1]);
        assert_eq!(ids("3-3"), [3]);
    }

    #[test]
    fn each_mistake_names_itself() {
        assert_eq!(parse(""), Err(ListError::Missing));
        assert_eq!(parse("1,,2"), Err(ListError::Missing));
        assert_eq!(parse("1,"), Err(ListError::Missing));
        for bad in ["x", "1-", "-1", "+1", "1-2-3", "1.5", "0x1"] {
            assert_eq!(parse(bad), Err(ListError::NotANumber(bad.to_owned())));
        }
        assert_eq!(parse("5-2"), Err(ListError::Backwards("5-2".to_owned())));
        assert_eq!(parse("0-3,2"), Err(ListError::Twice(2)));
        assert_eq!(parse("0-99999999"), Err(ListError::TooHigh(99_999_999)));
        assert_eq!(parse("99999999999999999999999"), Err(ListError::TooHigh(usize::MAX)));
    }
}
