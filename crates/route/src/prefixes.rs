//! The prefixes of a text among many, found without trying each: a trie, kept as a sorted list in which each prefix
//! knows the longest shorter one that it begins with.

/// Values under prefixes; several under one prefix stay in the order in which they came.
#[derive(Debug)]
pub struct Prefixes<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    prefix: Box<[u8]>,
    parent: Option<u32>,
    values: Vec<T>,
}

impl<T> Prefixes<T> {
    pub fn new(entries: impl IntoIterator<Item = (Vec<u8>, T)>) -> Self {
        let mut entries: Vec<(Vec<u8>, T)> = entries.into_iter().collect();
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        let mut nodes: Vec<Node<T>> = Vec::new();
        for (prefix, value) in entries {
            if let Some(last) = nodes.last_mut().filter(|last| *last.prefix == *prefix) {
                last.values.push(value);
                continue;
            }
            let mut parent = nodes.len().checked_sub(1);
            while let Some(at) = parent.filter(|&at| !prefix.starts_with(&nodes[at].prefix)) {
                parent = nodes[at].parent.map(|at| at as usize);
            }
            nodes.push(Node {
                prefix: prefix.into(),
                parent: parent.and_then(|at| u32::try_from(at).ok()),
                values: vec![value],
            });
        }
        Self { nodes }
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The values of all prefixes of `text`, those of the longest first.
    pub fn of(&self, text: &[u8]) -> impl Iterator<Item = &[T]> {
        // Whatever `text` begins with sorts before it, and is a prefix of the last that does.
        let after = self.nodes.partition_point(|node| *node.prefix <= *text);
        let last = after.checked_sub(1).and_then(|at| self.nodes.get(at));
        let common = last.map_or(0, |node| {
            let pairs = node.prefix.iter().zip(text);
            pairs.take_while(|(one, other)| one == other).count()
        });
        std::iter::successors(last, |node| self.nodes.get(node.parent? as usize))
            .filter(move |node| node.prefix.len() <= common)
            .map(|node| node.values.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_found_longest_first() {
        let words: Vec<String> = (0_u32..400)
            .map(|seed| {
                let digits =
                    (0..seed % 6).map(|at| ["a", "b", "/"][(seed / 3_u32.pow(at)) as usize % 3]);
                digits.collect()
            })
            .collect();
        let prefixes = Prefixes::new(
            words
                .iter()
                .map(|word| (word.clone().into_bytes(), word.clone())),
        );
        for text in words.iter().map(|word| format!("{word}a/")) {
            let found: Vec<&String> = prefixes.of(text.as_bytes()).flatten().collect();
            let mut wanted: Vec<&String> = words
                .iter()
                .filter(|word| text.starts_with(*word))
                .collect();
            wanted.sort_by_key(|word| std::cmp::Reverse(word.len()));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
