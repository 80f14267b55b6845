//! The answers of a gRPC stream. A server may send nothing, not even its headers, before it has something to say, so the
//! call is opened while the first answer is awaited: whoever waits can do other things meanwhile.

use std::future::Future;
use std::pin::Pin;

use tonic::{Response, Status, Streaming};

type Opening<M> = Pin<Box<dyn Future<Output = Result<Response<Streaming<M>>, Status>> + Send>>;

pub enum Answers<M> {
    Opening(Opening<M>),
    Open(Box<Streaming<M>>),
}

impl<M> Answers<M> {
    pub fn new(
        call: impl Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
    ) -> Self {
        Self::Opening(Box::pin(call))
    }

    /// The next answer; nothing is lost if the future is dropped before it is done.
    ///
    /// # Errors
    /// Why there is none: the stream ended, or failed.
    pub async fn next(&mut self) -> Result<M, String> {
        loop {
            match self {
                Self::Opening(call) => {
                    let answers = call.await.map_err(|status| said(&status))?.into_inner();
                    *self = Self::Open(Box::new(answers));
                }
                Self::Open(answers) => {
                    let answer = answers.message().await.map_err(|status| said(&status))?;
                    return answer.ok_or_else(|| "the server ended the stream".into());
                }
            }
        }
    }
}

fn said(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
