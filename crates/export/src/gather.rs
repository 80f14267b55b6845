//! Things that come one by one, taken together.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

/// Waits for something, then adds what comes within `pause`, `most` at most. False: nothing will ever come again.
pub async fn gather<T>(
    from: &mut Receiver<T>,
    into: &mut Vec<T>,
    most: usize,
    pause: Duration,
) -> bool {
    let Some(first) = from.recv().await else {
        return false;
    };
    into.push(first);
    let deadline = Instant::now() + pause;
    while into.len() < most {
        match timeout_at(deadline, from.recv()).await {
            Ok(Some(next)) => into.push(next),
            Ok(None) | Err(_) => break,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn what_comes_within_the_pause_is_taken_together() {
        let (sender, mut receiver) = channel(8);
        for number in 0..5 {
            assert!(sender.send(number).await.is_ok());
        }
        let mut taken = Vec::new();
        let pause = Duration::from_millis(20);
        assert!(gather(&mut receiver, &mut taken, 3, pause).await);
        assert_eq!(taken, [0, 1, 2]);
        taken.clear();
        assert!(gather(&mut receiver, &mut taken, 3, pause).await);
        assert_eq!(taken, [3, 4]);
        drop(sender);
        assert!(!gather(&mut receiver, &mut taken, 3, pause).await);
    }
}
