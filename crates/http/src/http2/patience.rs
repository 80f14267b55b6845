//! How long a caller may leave an answer lying: HTTP/2 lets it open no window for ever (RFC 9113 §10.5).
//!
//! hyper asks a body for a frame and then waits for the stream's window without asking again, so that a body cannot see its
//! own time pass. What drives the stream does: it holds the other end of a [`Patience`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

/// Where no time is configured.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Shared by the answer and what drives its stream.
#[derive(Debug, Default)]
pub struct Patience {
    /// When the frame that was handed out last must have been taken.
    until: Cell<Option<Instant>>,
    lost: Cell<bool>,
}

impl Patience {
    /// A frame was handed out.
    pub fn begin(&self, until: Instant) {
        self.until.set(Some(until));
    }

    /// It was taken.
    pub fn end(&self) {
        self.until.set(None);
    }

    /// The stream was given up.
    pub fn lost(&self) -> bool {
        self.lost.get()
    }
}

/// Runs the streams of one connection. hyper calls its service and then gives the stream that serves the call to its executor.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    begun: Rc<RefCell<Option<Rc<Patience>>>>,
}

impl Streams {
    /// For the call that is being begun; to be told of each of its frames.
    pub fn begin(&self) -> Rc<Patience> {
        let patience = Rc::new(Patience::default());
        *self.begun.borrow_mut() = Some(Rc::clone(&patience));
        patience
    }
}

impl<F: Future + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let patience = self.begun.borrow_mut().take();
        // Nobody waits for these tasks; they end with their connection.
        drop(match patience {
            Some(patience) => tokio::task::spawn_local(drive(stream, patience)),
            None => tokio::task::spawn_local(async move { drop(stream.await) }),
        });
    }
}

/// Drops the stream, which resets it, when the caller has left a frame of its answer lying for too long.
async fn drive<F: Future>(stream: F, patience: Rc<Patience>) {
    let mut stream = pin!(stream);
    let mut sleep: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(until) = patience.until.get() else {
            return Poll::Pending;
        };
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        patience.lost.set(true);
        Poll::Ready(())
    })
    .await;
}
