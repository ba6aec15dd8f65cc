//! Moments as text: Weave Net's form for its log, RFC 3339 for programs.

use std::time::Duration;

/// `YYYY/MM/DD HH:MM:SS.uuuuuu` in UTC.
pub fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = since_epoch.subsec_micros();
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Gregorian year, month and day of the day that is `days` after 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day comes last: 400 years have 146 097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// `YYYY-MM-DDTHH:MM:SS.uuuuuuZ` (RFC 3339).
pub fn rfc3339(since_epoch: Duration) -> String {
    timestamp(since_epoch).replace('/', "-").replace(' ', "T") + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_are_right() {
        for (seconds, date) in [
            (0, "1970/01/01"),
            (68_169_600, "1972/02/29"),
            (951_782_400, "2000/02/29"),
            (951_868_800, "2000/03/01"),
            (1_704_067_199, "2023/12/31"),
            (4_107_542_400, "2100/03/01"),
        ] {
            assert!(
                timestamp(Duration::from_secs(seconds)).starts_with(date),
                "{seconds}"
            );
        }
    }

    #[test]
    fn programs_get_rfc_3339() {
        let time = Duration::new(1_795_211_714, 347_372_000);

        assert_eq!(rfc3339(time), "2026-11-20T21:55:14.347372Z");
    }
}
