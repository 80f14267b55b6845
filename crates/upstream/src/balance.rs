//! Choosing an endpoint: by priority, then locality, then the cluster's rule.

use std::cell::OnceCell;
use std::rc::Rc;

use hauberk_config::cluster::{LoadBalancing, SlowStart};

use crate::consistent::Consistent;
use crate::host::Host;
use crate::random::random;

/// Hosts of one priority.
#[derive(Debug)]
pub(crate) struct Level<P> {
    pub localities: Vec<Locality<P>>,
    /// Made when the first key is looked for.
    pub consistent: OnceCell<Option<Consistent>>,
}

#[derive(Debug)]
pub(crate) struct Locality<P> {
    pub weight: u32,
    pub hosts: Vec<Rc<Host<P>>>,
}

impl<P> Locality<P> {
    pub fn has(&self, host: &Rc<Host<P>>) -> bool {
        self.hosts.iter().any(|one| Rc::ptr_eq(one, host))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub balancing: LoadBalancing,
    pub locality_weighted: bool,
    /// Percent.
    pub panic_threshold: u8,
    /// Percent times 100 is Envoy's `overprovisioning_factor` 140 = 1.4.
    pub overprovisioning: u32,
    pub slow_start: Option<SlowStart>,
}

impl Rule {
    /// Thousandths of a host's weight, less while it is new.
    fn weight<P>(&self, host: &Host<P>) -> u64 {
        let full = u64::from(host.weight()) * 1000;
        match &self.slow_start {
            None => full,
            Some(slow) => ((full as f64 * slow.share(host.standing.since.elapsed())) as u64).max(1),
        }
    }
}

/// `None`: no host may be used. Hosts for which `avoid` says true are taken only if there is no other. `key`: what a
/// consistent rule hashes; without one it draws. `tried`: priorities that are left out while another has hosts to use.
pub(crate) fn choose<P>(
    levels: &[Level<P>],
    rule: Rule,
    key: Option<u64>,
    tried: &[u32],
    avoid: &dyn Fn(&Host<P>) -> bool,
) -> Option<Rc<Host<P>>> {
    let level = match levels {
        [] => return None,
        [only] => only,
        several => &several[priority(several, rule, key.unwrap_or_else(random), tried)?],
    };
    let total = level.count(|_| true);
    let usable = level.count(Host::usable);
    if total == 0 {
        return None;
    }
    // Too few are left to believe what health says (Envoy's panic mode).
    let panic = usable * 100 < total * usize::from(rule.panic_threshold);
    if usable == 0 && !panic {
        return None;
    }
    let allowed = |host: &Host<P>| panic || host.usable();
    let fresh = |host: &Host<P>| allowed(host) && !avoid(host);
    if let Some(key) = key
        && let Some(table) = level.consistent(rule)
    {
        let found = |allowed: &dyn Fn(&Host<P>) -> bool| {
            let index = table.find(key, |index| {
                level.nth(index).is_some_and(|host| allowed(host))
            })?;
            level.nth(index).cloned()
        };
        return found(&fresh).or_else(|| found(&allowed));
    }
    pick(level, rule, &fresh).or_else(|| pick(level, rule, &allowed))
}

/// The priority for one call. A level takes the share that its healthy hosts can carry; what is left spills to the next.
fn priority<P>(levels: &[Level<P>], rule: Rule, drawn: u64, tried: &[u32]) -> Option<usize> {
    let carries = |level: &Level<P>| {
        let total = level.count(|_| true);
        let healthy = level.count(Host::usable) * rule.overprovisioning as usize;
        healthy.checked_div(total).unwrap_or(0).min(100)
    };
    let mut shares: Vec<usize> = levels.iter().map(carries).collect();
    let untried = |place: &usize| !tried.contains(&u32::try_from(*place).unwrap_or(u32::MAX));
    if (0..levels.len()).any(|place| untried(&place) && shares[place] > 0) {
        for place in (0..levels.len()).filter(|place| !untried(place)) {
            shares[place] = 0;
        }
    }
    let sum: usize = shares.iter().sum::<usize>().min(100);
    if sum == 0 {
        // All are down: the first level that has hosts decides whether it panics.
        return levels.iter().position(|level| level.count(|_| true) > 0);
    }
    let mut left = (drawn % sum as u64) as usize;
    for (index, share) in shares.iter().enumerate() {
        if left < *share {
            return Some(index);
        }
        left -= share;
    }
    None
}

fn pick<P>(
    level: &Level<P>,
    rule: Rule,
    allowed: &dyn Fn(&Host<P>) -> bool,
) -> Option<Rc<Host<P>>> {
    if rule.locality_weighted && level.localities.len() > 1 {
        let weight = |locality: &Locality<P>| {
            if locality.hosts.iter().any(|host| allowed(host)) {
                u64::from(locality.weight)
            } else {
                0
            }
        };
        let total: u64 = level.localities.iter().map(weight).sum();
        let mut left = random().checked_rem(total)?;
        for locality in &level.localities {
            if left < weight(locality) {
                return among(&locality.hosts, rule, allowed);
            }
            left -= weight(locality);
        }
        return None;
    }
    match level.localities.as_slice() {
        [only] => among(&only.hosts, rule, allowed),
        several => {
            let all: Vec<Rc<Host<P>>> = several
                .iter()
                .flat_map(|locality| locality.hosts.iter().cloned())
                .collect();
            among(&all, rule, allowed)
        }
    }
}

fn among<P>(
    hosts: &[Rc<Host<P>>],
    rule: Rule,
    allowed: &dyn Fn(&Host<P>) -> bool,
) -> Option<Rc<Host<P>>> {
    if let [only] = hosts {
        return allowed(only).then(|| Rc::clone(only));
    }
    match rule.balancing {
        LoadBalancing::LeastRequest { choices } => {
            least_request(hosts, choices.max(1), rule, allowed)
        }
        LoadBalancing::Random | LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. } => {
            weighted_random(hosts, rule, allowed)
        }
        LoadBalancing::RoundRobin | LoadBalancing::ClusterProvided => {
            round_robin(hosts, rule, allowed)
        }
    }
}

/// Smooth weighted round robin: every host earns its weight, the richest serves and pays the sum.
fn round_robin<P>(
    hosts: &[Rc<Host<P>>],
    rule: Rule,
    allowed: &dyn Fn(&Host<P>) -> bool,
) -> Option<Rc<Host<P>>> {
    let mut total = 0;
    let mut richest: Option<&Rc<Host<P>>> = None;
    for host in hosts.iter().filter(|host| allowed(host)) {
        let weight = i64::try_from(rule.weight(host)).unwrap_or(i64::MAX >> 20);
        total += weight;
        host.credit.set(host.credit.get() + weight);
        if richest.is_none_or(|other| host.credit.get() > other.credit.get()) {
            richest = Some(host);
        }
    }
    let chosen = richest?;
    chosen.credit.set(chosen.credit.get() - total);
    Some(Rc::clone(chosen))
}

/// The least loaded of a few drawn by weight.
fn least_request<P>(
    hosts: &[Rc<Host<P>>],
    choices: u32,
    rule: Rule,
    allowed: &dyn Fn(&Host<P>) -> bool,
) -> Option<Rc<Host<P>>> {
    let mut best: Option<Rc<Host<P>>> = None;
    for _ in 0..choices {
        let candidate = weighted_random(hosts, rule, allowed)?;
        if best
            .as_ref()
            .is_none_or(|best| candidate.active() < best.active())
        {
            best = Some(candidate);
        }
    }
    best
}

fn weighted_random<P>(
    hosts: &[Rc<Host<P>>],
    rule: Rule,
    allowed: &dyn Fn(&Host<P>) -> bool,
) -> Option<Rc<Host<P>>> {
    let open = || hosts.iter().filter(|host| allowed(host));
    let total: u64 = open().map(|host| rule.weight(host)).sum();
    let mut left = random().checked_rem(total)?;
    for host in open() {
        let weight = rule.weight(host);
        if left < weight {
            return Some(Rc::clone(host));
        }
        left -= weight;
    }
    None
}

impl<P> Level<P> {
    fn hosts(&self) -> impl Iterator<Item = &Rc<Host<P>>> {
        self.localities.iter().flat_map(|locality| &locality.hosts)
    }

    fn nth(&self, index: u32) -> Option<&Rc<Host<P>>> {
        self.hosts().nth(index as usize)
    }

    /// A locality's weight is shared by its hosts, where localities are weighed.
    fn consistent(&self, rule: Rule) -> Option<&Consistent> {
        let make = || {
            let weighed = rule.locality_weighted && self.localities.len() > 1;
            let weights: Vec<_> = self
                .localities
                .iter()
                .flat_map(|locality| {
                    let sum: u32 = locality.hosts.iter().map(|host| host.weight()).sum();
                    let factor = if weighed {
                        f64::from(locality.weight.max(1)) / f64::from(sum.max(1))
                    } else {
                        1.0
                    };
                    let weight = move |host: &Rc<Host<P>>| f64::from(host.weight()) * factor;
                    let hosts = locality.hosts.iter();
                    hosts.map(move |host| (host.address, weight(host)))
                })
                .collect();
            Consistent::new(rule.balancing, &weights)
        };
        self.consistent.get_or_init(make).as_ref()
    }

    fn count(&self, fits: impl Fn(&Host<P>) -> bool) -> usize {
        self.localities
            .iter()
            .flat_map(|locality| &locality.hosts)
            .filter(|host| fits(host))
            .count()
    }
}
