//! Durations and sizes as people write them.

use std::time::Duration;

/// A whole number and a unit: `500ms`, `2s`, `10m`, `24h`, `7d`.
///
/// # Errors
/// What is wrong with it, as the second half of a sentence that starts with the text.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let (count, unit) = split(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err("has no unit"),
        _ => return Err("is not a duration"),
    };
    let millis = count.checked_mul(factor).filter(|millis| *millis <= MAX_MILLIS).ok_or("is too long a time")?;
    Ok(Duration::from_millis(millis))
}

/// A whole number and a unit: `64MB` (decimal), `256MiB`, `1GiB` (binary), or bytes alone.
///
/// # Errors
/// As [`duration`].
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    let (count, unit) = split(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("is not a size"),
    };
    count.checked_mul(factor).ok_or("is too large a size")
}

fn split(text: &str) -> Result<(u64, &str), &'static str> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let count = count.parse().map_err(|_| "does not start with a whole number")?;
    Ok((count, unit.trim_start_matches(' ')))
}

/// A year: nothing in a gateway waits longer on purpose.
const MAX_MILLIS: u64 = 366 * 86_400_000;

pub(crate) const DURATION_HELP: &str = "a whole number and a unit (ms, s, m, h or d), such as `\"2s\"`";
pub(super) const SIZE_HELP: &str = "a whole number and a unit (B, kB, MB, GB, KiB, MiB or GiB), such as `\"64MiB\"`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_mean_what_they_say() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("1 d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(size("64MB"), Ok(64_000_000));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
    }

    #[test]
    fn what_cannot_be_read_exactly_is_refused() {
        for text in ["2", "", "s", "-1s", "1.5s", "2 seconds", "99999999999999999999s", "1000000d", "2S"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MB", "-1", "1.5GB", "1 mb", "99999999999TiB", "64Mb"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
