//! SWAPDB announces nothing; `INFO commandstats` tells that there was one.

/// How often SWAPDB and INFO were called, as home counted them when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Swaps {
    seen: Option<(u64, u64)>,
}

impl Swaps {
    /// Whether databases may have been swapped since the last look, by this INFO commandstats: SWAPDB was called, or
    /// the count of INFO itself did not rise, so that the statistics were reset.
    pub(super) fn moved(&mut self, info: &[u8]) -> bool {
        let (swapdb, asked) = (calls(info, b"cmdstat_swapdb:"), calls(info, b"cmdstat_info:"));
        let before = self.seen.replace((swapdb, asked));
        before.is_some_and(|(swapdb_before, asked_before)| swapdb != swapdb_before || asked <= asked_before)
    }
}

/// `calls=` of one line of INFO commandstats, 0 without the line.
fn calls(info: &[u8], line: &[u8]) -> u64 {
    info.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(line)?.strip_prefix(b"calls=")).map_or(
        0,
        |rest| {
            rest.iter()
                .take_while(|b| b.is_ascii_digit())
                .fold(0, |n: u64, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(swapdb: u64, info: u64) -> Vec<u8> {
        format!(
            "# Commandstats\r\ncmdstat_info:calls={info},usec=3\r\ncmdstat_swapdb:calls={swapdb},usec=1\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_swap_and_a_reset_are_noticed() {
        let mut swaps = Swaps::default();
        assert!(!swaps.moved(&info(4, 12)));
        assert!(!swaps.moved(&info(4, 13)));
        assert!(swaps.moved(&info(5, 14)));
        assert!(!swaps.moved(&info(5, 15)));
        assert!(swaps.moved(b"# Commandstats\r\ncmdstat_info:calls=1,usec=3\r\n"));
        assert_eq!(calls(&info(4, 12), b"cmdstat_get:"), 0);
    }
}
