//! Structure out of bytes: a fuzzer's input is read as a row of choices, so that a changed byte is another choice.

/// The choices that are left; when there are none, the first of each is made.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// Below `bound`, which is at most 256; 0 if `bound` is.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()).checked_rem(bound).unwrap_or(0)
    }

    /// True once in `often` times.
    pub fn once_in(&mut self, often: usize) -> bool {
        self.below(often) == often - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = self.below(most + 1);
        (0..length).map(|_| make(self)).collect()
    }

    pub fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(2).then(|| make(self))
    }

    /// The bytes that no choice has used.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
