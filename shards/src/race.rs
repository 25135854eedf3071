//! Two futures in one task, without allocation: the first to finish, or both.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Which of two futures finished first.
#[derive(Debug)]
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Runs both until one ends; the other is dropped.
pub(crate) async fn race<A, B>(
    a: impl Future<Output = A>,
    b: impl Future<Output = B>,
) -> Either<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if let Poll::Ready(output) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

/// Runs `main` to its end, unless `stop` gives something before: then `main` is left where it is.
pub(crate) async fn unless<A, B>(
    mut main: Pin<&mut impl Future<Output = A>>,
    mut stop: impl FnMut(&mut Context<'_>) -> Poll<B>,
) -> Result<A, B> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = main.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        stop(cx).map(Err)
    })
    .await
}

/// Runs `side` beside `main` until `main` ends; returns what `side` gave if it ended before.
pub(crate) async fn beside<A, B>(
    main: impl Future<Output = A>,
    mut side: Pin<&mut impl Future<Output = B>>,
) -> (A, Option<B>) {
    let mut main = pin!(main);
    let mut ended = None;
    poll_fn(|cx| {
        if ended.is_none()
            && let Poll::Ready(output) = side.as_mut().poll(cx)
        {
            ended = Some(output);
        }
        main.as_mut().poll(cx).map(|output| (output, ended.take()))
    })
    .await
}

/// Runs both to their end.
pub(crate) async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            left = Some(output);
        }
        if right.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            right = Some(output);
        }
        match (left.take(), right.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (left, right) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
