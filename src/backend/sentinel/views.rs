//! What sentinels say of the master, and whom to believe.

use std::collections::BTreeSet;

use crate::config::HostPort;

/// Where the master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Grows with every failover. It is that of the failover which made this server master.
    pub(super) epoch: u64,
    /// As the sentinel names it.
    pub(super) address: HostPort,
}

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// The sentinel's own: it may be known by several addresses.
    pub(super) id: String,
    pub(super) view: View,
    /// The other sentinels that it knows.
    pub(super) others: Vec<HostPort>,
}

/// What follows from the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Nothing changes.
    Stay,
    /// This is the master now.
    Go(&'a View),
    /// This is the master if it is still said a while later: sentinels were set up anew, or those who know better
    /// are away for a moment.
    GoIfLasting(&'a View),
}

/// Whom to believe, of the sentinels that answer at present.
pub(super) fn decide<'a>(
    current: Option<&View>,
    reports: impl Iterator<Item = &'a Report> + Clone,
) -> Verdict<'a> {
    let Some(newest) = reports.clone().map(|report| &report.view).max_by_key(|view| view.epoch) else {
        return Verdict::Stay;
    };
    let Some(current) = current else {
        return Verdict::Go(newest);
    };
    if newest.epoch > current.epoch {
        return Verdict::Go(newest);
    }
    let agreed = reports.clone().all(|report| report.view.address == newest.address);
    if agreed && newest.address != current.address && is_majority(reports) {
        Verdict::GoIfLasting(newest)
    } else {
        Verdict::Stay
    }
}

fn is_majority<'a>(reports: impl Iterator<Item = &'a Report> + Clone) -> bool {
    let known = 1 + reports.clone().map(|report| report.others.len()).max().unwrap_or(0);
    let heard: BTreeSet<&str> = reports.map(|report| report.id.as_str()).collect();
    2 * heard.len() > known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, port: u16) -> View {
        View { epoch, address: HostPort { host: "h".to_owned(), port } }
    }

    fn report(id: &str, epoch: u64, port: u16) -> Report {
        let others = vec![HostPort { host: "s".to_owned(), port: 1 }; 2];
        Report { id: id.to_owned(), view: view(epoch, port), others }
    }

    #[test]
    fn the_newest_epoch_wins_whoever_says_so() {
        let reports = [report("a", 4, 1), report("b", 5, 2), report("c", 4, 1)];
        assert_eq!(decide(None, reports.iter()), Verdict::Go(&view(5, 2)));
        assert_eq!(decide(Some(&view(4, 1)), reports.iter()), Verdict::Go(&view(5, 2)));
        assert_eq!(decide(Some(&view(5, 2)), reports.iter()), Verdict::Stay);
        assert_eq!(decide(Some(&view(5, 2)), [].iter()), Verdict::Stay);
        assert_eq!(decide(None, [].iter()), Verdict::Stay);
    }

    #[test]
    fn who_was_away_does_not_bring_an_old_master_back() {
        let current = view(5, 2);
        for reports in [
            vec![report("a", 4, 1)],
            vec![report("a", 4, 1), report("a", 4, 1)],
            vec![report("a", 4, 1), report("b", 5, 2)],
            vec![report("a", 4, 1), report("b", 4, 3)],
        ] {
            assert_eq!(decide(Some(&current), reports.iter()), Verdict::Stay, "{reports:?}");
        }
    }

    /// SENTINEL REMOVE and SENTINEL MONITOR.
    #[test]
    fn a_majority_that_agrees_begins_anew() {
        let reports = [report("a", 0, 1), report("b", 0, 1)];
        assert_eq!(decide(Some(&view(5, 2)), reports.iter()), Verdict::GoIfLasting(&view(0, 1)));
        assert_eq!(decide(Some(&view(5, 1)), reports.iter()), Verdict::Stay);
    }
}
