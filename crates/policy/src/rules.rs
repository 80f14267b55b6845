//! Rules compiled: what the connection settles is asked once a connection, and of many rules a request is shown only to
//! those whose literals it has.

use std::collections::HashMap;
use std::sync::Arc;

use hauberk_config::rbac::Rbac;
use hauberk_route::Index;

use crate::condition::{Condition, Facts, Need, Place, Scope};

/// So many are tried one by one.
const FEW: usize = 8;

#[derive(Debug)]
pub struct Rules {
    policies: Vec<Policy>,
    by_connection: Chooser,
    by_request: Chooser,
}

#[derive(Debug)]
struct Policy {
    name: Arc<str>,
    /// What the connection alone decides.
    connection: Condition,
    /// The rest.
    request: Condition,
}

/// What one connection leaves of some rules.
#[derive(Debug, Default, Clone)]
pub struct Standing {
    /// A bit for each policy that may still match, where an index chooses among them.
    may: Vec<u64>,
    /// Those that may still match and that no index finds, in order.
    always: Vec<u32>,
}

/// Gives the texts at a place, one by one.
pub trait Places {
    fn texts(&self, place: &Place, each: &mut dyn FnMut(&str));
}

impl Rules {
    pub fn new(stated: &Rbac) -> Self {
        let policies: Vec<Policy> = stated
            .policies
            .iter()
            .map(|policy| {
                let whole = Condition::of(&policy.permissions, &policy.principals);
                let (connection, request) = whole.split();
                Policy {
                    name: Arc::clone(&policy.name),
                    connection,
                    request,
                }
            })
            .collect();
        Self {
            by_connection: Chooser::new(
                Scope::Connection,
                policies.iter().map(|one| &one.connection),
            ),
            by_request: Chooser::new(Scope::Request, policies.iter().map(|one| &one.request)),
            policies,
        }
    }

    /// What a connection leaves of these rules.
    pub fn settle(&self, connection: &(impl Facts + Places)) -> Standing {
        let mut standing = Standing {
            may: vec![0; self.by_request.words(self.policies.len())],
            always: Vec::new(),
        };
        for number in self.by_connection.choose(connection) {
            let policy = &self.policies[number as usize];
            if policy.connection.holds(connection) == Some(false) {
                continue;
            }
            let rest = policy.request.holds(connection);
            if rest == Some(false) {
                continue;
            }
            if self.by_request.finds(number) {
                standing.may[number as usize / 64] |= 1 << (number % 64);
            } else {
                standing.always.push(number);
            }
            if rest == Some(true) {
                // It matches every request here: no later one is ever asked.
                break;
            }
        }
        standing
    }

    /// The first policy that matches, of those that `standing` leaves.
    pub fn first(&self, standing: &Standing, request: &(impl Facts + Places)) -> Option<Arc<str>> {
        let mut found = Vec::new();
        if standing.may.iter().any(|word| *word != 0) {
            self.by_request.find(request, &mut found);
            found.retain(|number| standing.may[*number as usize / 64] & (1 << (number % 64)) != 0);
            found.sort_unstable();
            found.dedup();
        }
        let holds = |number: u32| {
            let policy = &self.policies[number as usize];
            (policy.request.holds(request) == Some(true)).then(|| Arc::clone(&policy.name))
        };
        merged(&found, &standing.always).find_map(holds)
    }
}

impl Rules {
    /// Each policy's name and the conditions that must all hold, in order.
    pub fn each(&self) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = &Condition>)> {
        self.policies.iter().map(|policy| {
            let conditions = policy
                .connection
                .parts()
                .iter()
                .chain(policy.request.parts());
            (&policy.name, conditions)
        })
    }
}

/// Two ascending lists as one.
fn merged<'a>(one: &'a [u32], other: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(left), Some(right)) if left <= right => one.next().copied(),
        (Some(_), None) => one.next().copied(),
        _ => other.next().copied(),
    })
}

/// Finds the conditions that some facts can meet, by a literal that each of them needs.
#[derive(Debug)]
struct Chooser {
    places: Vec<(Place, Index)>,
    /// Those without such a literal, ascending.
    others: Vec<u32>,
}

impl Chooser {
    fn new<'a>(scope: Scope, conditions: impl Iterator<Item = &'a Condition>) -> Self {
        let conditions: Vec<&Condition> = conditions.collect();
        let mut chooser = Self {
            places: Vec::new(),
            others: Vec::new(),
        };
        let mut uses: HashMap<Need<'_>, usize> = HashMap::new();
        if conditions.len() > FEW {
            for condition in &conditions {
                let mut literals = Vec::new();
                condition.literals(scope, &mut literals);
                for literal in literals {
                    *uses.entry(literal).or_default() += 1;
                }
            }
        }
        let weight = |need: &Need<'a>| uses.get(need).copied().unwrap_or_default();
        let mut entries: HashMap<Place, Vec<_>> = HashMap::new();
        for (number, condition) in (0_u32..).zip(&conditions) {
            let needs = Some(condition)
                .filter(|_| conditions.len() > FEW)
                .and_then(|condition| condition.needs(scope, &weight));
            match needs {
                None => chooser.others.push(number),
                Some(needs) => {
                    for (place, landmark, folds) in needs {
                        entries
                            .entry(place)
                            .or_default()
                            .push((landmark, folds, number));
                    }
                }
            }
        }
        chooser.places = entries
            .into_iter()
            .map(|(place, entries)| (place, Index::new(entries)))
            .collect();
        chooser
    }

    /// Whether literals find it.
    fn finds(&self, number: u32) -> bool {
        self.others.binary_search(&number).is_err()
    }

    /// Words of 64 bits for the conditions that literals find.
    fn words(&self, conditions: usize) -> usize {
        if self.others.len() == conditions {
            0
        } else {
            conditions.div_ceil(64)
        }
    }

    /// Those that literals find, in no order.
    fn find(&self, facts: &impl Places, found: &mut Vec<u32>) {
        for (place, index) in &self.places {
            facts.texts(place, &mut |text| index.find(text, found));
        }
    }

    /// All that may hold, ascending.
    fn choose(&self, facts: &impl Places) -> Vec<u32> {
        let mut found = self.others.clone();
        self.find(facts, &mut found);
        if found.len() > self.others.len() {
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use hauberk_config::matcher::StringMatcher;
    use hauberk_config::rbac::{Permission, Policy, Principal, RbacAction};

    use super::*;
    use crate::condition::Test;

    /// A request by a known peer to a known path, which counts how often it is asked.
    struct Counting {
        peer: String,
        path: Option<String>,
        asked: Cell<usize>,
    }

    impl Facts for Counting {
        fn test(&self, test: &Test) -> Option<bool> {
            self.asked.set(self.asked.get() + 1);
            match test {
                Test::Peer(texts) => Some(texts.fits(&self.peer)),
                Test::Path(texts) => self.path.as_ref().map(|path| texts.fits(path)),
                _ => None,
            }
        }
    }

    impl Places for Counting {
        fn texts(&self, place: &Place, each: &mut dyn FnMut(&str)) {
            match (place, &self.path) {
                (Place::Peer, _) => each(&self.peer),
                (Place::Path, Some(path)) => each(path),
                _ => {}
            }
        }
    }

    fn rules(
        number: usize,
        peer: impl Fn(usize) -> String,
        path: impl Fn(usize) -> String,
    ) -> Rules {
        let policies = (0..number).map(|at| Policy {
            name: format!("rule[{at}]").into(),
            permissions: vec![Permission::UrlPath(StringMatcher::exact(path(at)))],
            principals: vec![Principal::Authenticated(Some(StringMatcher::exact(peer(
                at,
            ))))],
        });
        Rules::new(&Rbac {
            action: RbacAction::Allow,
            policies: policies.collect(),
        })
    }

    /// How often a connection, and a request on it, are asked; the last rule matches.
    fn asked(rules: &Rules, peer: &str, path: &str) -> (usize, usize) {
        let connection = Counting {
            peer: peer.into(),
            path: None,
            asked: Cell::new(0),
        };
        let standing = rules.settle(&connection);
        let request = Counting {
            peer: peer.into(),
            path: Some(path.into()),
            asked: Cell::new(0),
        };
        assert_eq!(
            rules.first(&standing, &request),
            rules.policies.last().map(|policy| Arc::clone(&policy.name))
        );
        (connection.asked.get(), request.asked.get())
    }

    #[test]
    fn of_a_thousand_rules_only_those_are_asked_that_can_match() {
        let same = |text: &'static str| move |_| text.to_owned();
        let by_path = rules(1000, same("peer"), |at| format!("/{at}"));
        assert_eq!(asked(&by_path, "peer", "/999").1, 1);
        let by_peer = rules(1000, |at| format!("peer/{at}"), same("/"));
        assert_eq!(asked(&by_peer, "peer/999", "/"), (2, 1));
    }
}
