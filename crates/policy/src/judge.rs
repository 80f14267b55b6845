//! What rules come to for a call of which not everything is known, policy by policy, and why: the same conditions that
//! decide on calls, asked of what a person knows.

use std::sync::Arc;

use crate::condition::{Facts, Test};
use crate::facts::{Asked, Subject, WithRequest, WithoutRequests};
use crate::rules::Rules;
use crate::{Access, Decision, Enforced, decision};

/// What nobody said about a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Where it comes from.
    pub source: bool,
    /// The TLS server name that it asks for.
    pub server_name: bool,
}

/// What one set of rules comes to.
#[derive(Debug)]
pub struct Judgement {
    pub kind: RulesKind,
    /// In the order in which they are asked.
    pub policies: Vec<JudgedPolicy>,
    /// `None`: it depends on what is not known. Rules that only note decide nothing: theirs is the policy that notes.
    pub decision: Option<Decision>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesKind {
    Allow,
    Deny,
    /// It decides nothing; what it matches is noted.
    Note,
    DryRunAllow,
    DryRunDeny,
}

#[derive(Debug)]
pub struct JudgedPolicy {
    pub name: Arc<str>,
    /// `None`: it depends on what is not known.
    pub matches: Option<bool>,
    /// Each condition that has to hold, in words, and whether it does.
    pub conditions: Vec<(String, Option<bool>)>,
}

impl Access {
    /// All rules, in the order in which they are asked; `asked` is `None` for a connection without requests.
    pub fn judge(
        &self,
        subject: &Subject<'_>,
        asked: Option<&Asked<'_>>,
        unknown: Unknown,
    ) -> Vec<Judgement> {
        match asked {
            None => self.judge_by(&Partly(WithoutRequests(subject), unknown)),
            Some(asked) => self.judge_by(&Partly(WithRequest(subject, asked), unknown)),
        }
    }

    fn judge_by(&self, facts: &impl Facts) -> Vec<Judgement> {
        let noted = self.audited.iter().map(|rules| {
            let policies = judged(rules, facts);
            Judgement {
                decision: outcome(Enforced::Deny, &policies),
                kind: RulesKind::Note,
                policies,
            }
        });
        let tried = self
            .tried
            .iter()
            .map(|(action, rules)| (action, rules, true));
        let enforced = self
            .enforced
            .iter()
            .map(|(action, rules)| (action, rules, false));
        let deciding = tried.chain(enforced).map(|(action, rules, dry_run)| {
            let policies = judged(rules, facts);
            Judgement {
                kind: match (action, dry_run) {
                    (Enforced::Allow, false) => RulesKind::Allow,
                    (Enforced::Deny, false) => RulesKind::Deny,
                    (Enforced::Allow, true) => RulesKind::DryRunAllow,
                    (Enforced::Deny, true) => RulesKind::DryRunDeny,
                },
                decision: outcome(*action, &policies),
                policies,
            }
        });
        noted.chain(deciding).collect()
    }
}

fn judged(rules: &Rules, facts: &impl Facts) -> Vec<JudgedPolicy> {
    let each = rules.each().map(|(name, conditions)| {
        let conditions: Vec<_> = conditions
            .map(|condition| (condition.to_string(), condition.holds(facts)))
            .collect();
        let any = |wanted| conditions.iter().any(|(_, holds)| *holds == wanted);
        JudgedPolicy {
            name: Arc::clone(name),
            matches: if any(Some(false)) {
                Some(false)
            } else if any(None) {
                None
            } else {
                Some(true)
            },
            conditions,
        }
    });
    each.collect()
}

/// `None`: a policy of which it is not known whether it matches could change the verdict, or comes before the first that
/// does.
fn outcome(action: Enforced, policies: &[JudgedPolicy]) -> Option<Decision> {
    let first = policies.iter().find(|policy| policy.matches != Some(false));
    match first {
        None => Some(decision(action, None)),
        Some(policy) if policy.matches == Some(true) => {
            Some(decision(action, Some(Arc::clone(&policy.name))))
        }
        Some(_) => {
            let sure = policies
                .iter()
                .find(|policy| policy.matches == Some(true))?;
            Some(decision(action, Some(Arc::clone(&sure.name))))
        }
    }
}

/// Facts without those that nobody said.
struct Partly<F>(F, Unknown);

impl<F: Facts> Facts for Partly<F> {
    fn test(&self, test: &Test) -> Option<bool> {
        let unknown = match test {
            Test::SourceIp(_) | Test::RemoteIp(_) => self.1.source,
            Test::ServerName(_) => self.1.server_name,
            _ => false,
        };
        if unknown { None } else { self.0.test(test) }
    }
}
