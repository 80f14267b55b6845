//! Role-based access control as Envoy states it: who may do what, compiled when configured and asked once a connection
//! where the connection decides, else once a request.
#![forbid(unsafe_code)]

mod claim;
mod condition;
mod facts;
mod judge;
mod rules;
mod words;

use std::sync::{Arc, LazyLock};

use hauberk_config::rbac::{Rbac, RbacAction, RbacFilter};

pub use claim::Metadata;
pub use facts::{Asked, Subject};
pub use judge::{JudgedPolicy, Judgement, RulesKind, Unknown};

use facts::{BeforeRequests, WithRequest, WithoutRequests};
use rules::Rules;

/// A filter's rules.
pub struct Access {
    enforced: Option<(Enforced, Rules)>,
    /// Rules that decide nothing: shadow rules, or rules whose action is LOG.
    audited: Vec<Rules>,
    /// Rules in dry run.
    tried: Option<(Enforced, Rules)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enforced {
    Allow,
    Deny,
}

/// What a connection settles of a filter's rules, for the requests on it.
#[derive(Debug, Default, Clone)]
pub struct Standing {
    enforced: rules::Standing,
    audited: Vec<rules::Standing>,
    tried: rules::Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// The policy that decided; empty if none had to.
    pub policy: Arc<str>,
    pub reason: Arc<str>,
}

static MATCHED_ALLOW: LazyLock<Arc<str>> = LazyLock::new(|| "matched an ALLOW policy".into());
static MATCHED_DENY: LazyLock<Arc<str>> = LazyLock::new(|| "matched a DENY policy".into());
static NO_ALLOW: LazyLock<Arc<str>> = LazyLock::new(|| "no ALLOW policy matched".into());

impl Decision {
    pub fn allowed() -> Self {
        Self {
            allowed: true,
            policy: Arc::default(),
            reason: Arc::default(),
        }
    }

    /// Refused for a `reason` that is no policy.
    pub fn denied(reason: &str) -> Self {
        Self {
            allowed: false,
            policy: Arc::default(),
            reason: reason.into(),
        }
    }
}

impl Decision {
    /// What two filters come to, asked one after the other: the first refusal counts, else the last that names a policy.
    pub fn then(self, next: Self) -> Self {
        if !self.allowed || (next.allowed && next.policy.is_empty()) {
            self
        } else {
            next
        }
    }
}

impl Access {
    pub fn new(filter: &RbacFilter) -> Self {
        let noted = filter
            .rules
            .as_ref()
            .filter(|rules| rules.action == RbacAction::Log);
        Self {
            enforced: deciding(filter.rules.as_deref()),
            tried: deciding(filter.dry_run.as_deref()),
            audited: filter
                .shadow_rules
                .iter()
                .chain(noted)
                .map(|rules| Rules::new(rules))
                .collect(),
        }
    }

    /// Decides on a connection that has no requests.
    pub fn connection(&self, subject: &Subject<'_>) -> Decision {
        let Some((action, rules)) = &self.enforced else {
            return Decision::allowed();
        };
        let facts = WithoutRequests(subject);
        decision(*action, rules.first(&rules.settle(&facts), &facts))
    }

    /// The first policy that matches such a connection, of those that decide nothing.
    pub fn audit_connection(&self, subject: &Subject<'_>) -> Option<Arc<str>> {
        let facts = WithoutRequests(subject);
        let matched = |rules: &Rules| rules.first(&rules.settle(&facts), &facts);
        self.audited.iter().find_map(matched)
    }

    /// What the rules in dry run would decide on such a connection; `None`: there are none.
    pub fn try_connection(&self, subject: &Subject<'_>) -> Option<Decision> {
        let (action, rules) = self.tried.as_ref()?;
        let facts = WithoutRequests(subject);
        Some(decision(
            *action,
            rules.first(&rules.settle(&facts), &facts),
        ))
    }

    /// What a connection settles, to be remembered as long as it lives.
    pub fn settle(&self, subject: &Subject<'_>) -> Standing {
        let facts = BeforeRequests(subject);
        let settled = |deciding: Option<&(Enforced, Rules)>| {
            deciding.map_or_else(Default::default, |(_, rules)| rules.settle(&facts))
        };
        Standing {
            enforced: settled(self.enforced.as_ref()),
            tried: settled(self.tried.as_ref()),
            audited: self
                .audited
                .iter()
                .map(|rules| rules.settle(&facts))
                .collect(),
        }
    }

    /// Decides on a request; `standing` is what [`Self::settle`] said of this `subject`.
    pub fn request(
        &self,
        standing: &Standing,
        subject: &Subject<'_>,
        asked: &Asked<'_>,
    ) -> Decision {
        let Some((action, rules)) = &self.enforced else {
            return Decision::allowed();
        };
        let facts = WithRequest(subject, asked);
        decision(*action, rules.first(&standing.enforced, &facts))
    }

    /// What the rules in dry run would decide on a request; `None`: there are none.
    pub fn try_request(
        &self,
        standing: &Standing,
        subject: &Subject<'_>,
        asked: &Asked<'_>,
    ) -> Option<Decision> {
        let (action, rules) = self.tried.as_ref()?;
        let matched = rules.first(&standing.tried, &WithRequest(subject, asked));
        Some(decision(*action, matched))
    }

    /// The first policy that matches a request, of those that decide nothing.
    pub fn audit(
        &self,
        standing: &Standing,
        subject: &Subject<'_>,
        asked: &Asked<'_>,
    ) -> Option<Arc<str>> {
        let facts = WithRequest(subject, asked);
        let mut audited = self.audited.iter().zip(&standing.audited);
        audited.find_map(|(rules, standing)| rules.first(standing, &facts))
    }
}

/// `None`: the rules decide nothing.
fn deciding(rules: Option<&Rbac>) -> Option<(Enforced, Rules)> {
    let rules = rules?;
    let action = match rules.action {
        RbacAction::Allow => Enforced::Allow,
        RbacAction::Deny => Enforced::Deny,
        RbacAction::Log => return None,
    };
    Some((action, Rules::new(rules)))
}

fn decision(action: Enforced, matched: Option<Arc<str>>) -> Decision {
    match (action, matched) {
        (Enforced::Allow, Some(policy)) => Decision {
            allowed: true,
            reason: Arc::clone(&MATCHED_ALLOW),
            policy,
        },
        (Enforced::Allow, None) => Decision {
            allowed: false,
            policy: Arc::default(),
            reason: Arc::clone(&NO_ALLOW),
        },
        (Enforced::Deny, Some(policy)) => Decision {
            allowed: false,
            reason: Arc::clone(&MATCHED_DENY),
            policy,
        },
        (Enforced::Deny, None) => Decision::allowed(),
    }
}
