//! One ruling after the other, each on the usage that those before left.

use loadmaster_sdk::admission::{Finding, Ruling, Shortage};
use loadmaster_sdk::quota::{Amount, QuotaTree, Usage};

use crate::heads::Heads;
use crate::settings::{Partial, Settings};

/// Which of a head's two demands is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// All pods.
    Full,
    /// The minimum of every role.
    Least,
}

/// What becomes of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it fits.
    Admit,
    /// So many pods of its one role fit.
    Part(u32),
    /// More than the minimum fits, but the roles are not known here.
    Leave,
    /// It would fit if others gave back what they borrowed.
    Reclaim(Want),
    /// Not now.
    Wait(Want),
    /// Not ever, for want of this.
    Never(Amount),
    /// Nobody to pay.
    Unknown,
}

/// Rules on heads in the order in which it is asked.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) tree: &'a QuotaTree,
    /// With everything admitted or reserved so far.
    pub(crate) usage: Usage,
    settings: Settings,
    /// What earlier heads asked others to give back: (node, resource, amount),
    /// sorted. A later head must not ask for it again.
    asked: Vec<(usize, u32, i64)>,
    /// Room for amounts that are charged.
    scratch: Vec<Amount>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(tree: &'a QuotaTree, usage: Usage, settings: Settings) -> Self {
        Self {
            tree,
            usage,
            settings,
            asked: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn fits(&self, payer: usize, demand: &[Amount]) -> bool {
        self.tree.fits(&self.usage, payer, demand)
    }

    pub(crate) fn decide(&self, heads: &Heads<'_>, head: usize) -> Outcome {
        let Some(payer) = heads.payer(head) else {
            return Outcome::Unknown;
        };
        let (full, least) = (heads.full(head), heads.least(head));
        if self.fits(payer, full) {
            return Outcome::Admit;
        }
        let elastic = full != least && self.settings.partial != Partial::Off;
        let (want, start) = if elastic {
            (Want::Least, least)
        } else {
            (Want::Full, full)
        };
        let over = |d: &&Amount| self.tree.ever(payer, d.resource) < d.amount;
        if let Some(never) = start.iter().find(over) {
            return Outcome::Never(*never);
        }
        if elastic && self.fits(payer, least) {
            match self.settings.partial {
                Partial::SingleRole => match heads.pods(head) {
                    Some((min, all)) => {
                        let pods = self.pods_that_fit(payer, full, all);
                        if pods >= min {
                            return Outcome::Part(pods);
                        }
                    }
                    None => return Outcome::Leave,
                },
                Partial::Leave | Partial::Off => return Outcome::Leave,
            }
        }
        let entitled = |demand| self.tree.entitled(&self.usage, payer, demand);
        if entitled(full) && !full.iter().any(|d| over(&d)) {
            Outcome::Reclaim(Want::Full)
        } else if entitled(start) {
            Outcome::Reclaim(want)
        } else {
            Outcome::Wait(want)
        }
    }

    /// Most pods that fit when all need the same. What fits is one number for
    /// each resource, so that a division finds what a search would.
    fn pods_that_fit(&self, payer: usize, full: &[Amount], all: u32) -> u32 {
        let fit = full.iter().map(|d| {
            let each = d.amount / i64::from(all);
            let room = self.tree.room(&self.usage, payer, d.resource);
            room.checked_div(each).unwrap_or(i64::MAX)
        });
        let fit = fit.min().unwrap_or(i64::MAX);
        u32::try_from(fit).unwrap_or(u32::MAX).min(all)
    }

    fn wanted<'h>(heads: &'h Heads<'_>, head: usize, want: Want) -> &'h [Amount] {
        match want {
            Want::Full => heads.full(head),
            Want::Least => heads.least(head),
        }
    }

    fn asked(&self, node: usize, resource: u32) -> i64 {
        let at = self.asked.binary_search_by_key(&(node, resource), key);
        at.map_or(0, |at| self.asked[at].2)
    }

    /// Every limit in the way, from the paying node upwards, and by how much.
    fn short(
        &self,
        heads: &Heads<'_>,
        head: usize,
        want: Want,
        mut found: impl FnMut(usize, u32, i64),
    ) {
        let Some(payer) = heads.payer(head) else {
            return;
        };
        let demand = Self::wanted(heads, head, want);
        self.tree
            .shortages(&self.usage, payer, demand, |node, resource, by| {
                let by = by - self.asked(node, resource);
                if by > 0 {
                    found(node, resource, by);
                }
            });
    }

    fn shortages(&self, heads: &Heads<'_>, head: usize, want: Want) -> Vec<Shortage> {
        let mut list = Vec::new();
        self.short(heads, head, want, |node, resource, by| {
            list.push((node, resource, by));
        });
        self.tree.shortage_list(list)
    }

    /// The answer; to be asked for before the head is settled.
    pub(crate) fn ruling(&self, heads: &Heads<'_>, head: usize, outcome: &Outcome) -> Ruling {
        match outcome {
            Outcome::Admit => Ruling::Admit,
            Outcome::Part(pods) => Ruling::AdmitPartial(vec![*pods]),
            Outcome::Leave | Outcome::Unknown => Ruling::Abstain,
            Outcome::Reclaim(want) => Ruling::Reclaim(self.shortages(heads, head, *want)),
            Outcome::Wait(want) => Ruling::Wait(self.shortages(heads, head, *want)),
            Outcome::Never(part) => {
                let payer = heads.payer(head).unwrap_or(0);
                Ruling::Reject(Finding::new(
                    "ExceedsQuota",
                    "/roles",
                    &format!(
                        "needs {} of {}, and quota `{}` can never use more than {}, borrowing included; ask for less or for a larger quota",
                        part.amount,
                        self.tree.resources()[part.resource as usize],
                        heads.nodes()[payer].name,
                        self.tree.ever(payer, part.resource),
                    ),
                ))
            }
        }
    }

    /// Charges what the head will use, or may.
    pub(crate) fn settle(&mut self, heads: &Heads<'_>, head: usize, outcome: &Outcome) {
        let Some(payer) = heads.payer(head) else {
            return;
        };
        let mut charge = std::mem::take(&mut self.scratch);
        charge.clear();
        match outcome {
            Outcome::Admit => charge.extend_from_slice(heads.full(head)),
            Outcome::Part(pods) => {
                let all = heads.pods(head).map_or(1, |(_, all)| i64::from(all));
                charge.extend(heads.full(head).iter().map(|d| Amount {
                    amount: d.amount / all * i64::from(*pods),
                    ..*d
                }));
            }
            // Whatever the host takes of it, it is not more than this.
            Outcome::Leave => charge.extend(heads.full(head).iter().map(|d| Amount {
                amount: d.amount.min(self.tree.room(&self.usage, payer, d.resource)),
                ..*d
            })),
            Outcome::Reclaim(want) if self.settings.reserve => {
                let mut asked = Vec::new();
                self.short(heads, head, *want, |node, resource, by| {
                    asked.push((node, resource, by));
                });
                for ask in asked {
                    match self.asked.binary_search_by_key(&(ask.0, ask.1), key) {
                        Ok(at) => self.asked[at].2 = self.asked[at].2.saturating_add(ask.2),
                        Err(at) => self.asked.insert(at, ask),
                    }
                }
                charge.extend_from_slice(Self::wanted(heads, head, *want));
            }
            Outcome::Reclaim(_) | Outcome::Wait(_) | Outcome::Never(_) | Outcome::Unknown => {}
        }
        self.tree.charge(&mut self.usage, payer, &charge);
        self.scratch = charge;
    }
}

fn key(asked: &(usize, u32, i64)) -> (usize, u32) {
    (asked.0, asked.1)
}
