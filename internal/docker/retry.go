package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/remorahq/remora/internal/engine"
)

// tries is how often an idempotent call is made while its error is transient:
// with the waits of 100 ms doubling, about three seconds.
const tries = 6

// parallel bounds the calls that one reading of the engine makes at a time.
const parallel = 6

// call makes an idempotent call, again with back-off while its error is
// transient. what names the call for people, such as "stop container web-1".
func call[T any](ctx context.Context, what string, op func() (T, error)) (T, error) {
	return retrying(ctx, what, classify, op)
}

// ask is call for what only reads: the engine has to answer within the
// adapter's time, so that one that hangs is seen as one that is away.
func ask[T any](ctx context.Context, e *Engine, what string, op func(context.Context) (T, error)) (T, error) {
	return call(ctx, what, func() (T, error) {
		limit, cancel := context.WithTimeout(ctx, e.opts.Timeout)
		defer cancel()
		v, err := op(limit)
		if err != nil && limit.Err() != nil && ctx.Err() == nil {
			return v, fmt.Errorf("%w: no answer within %s", engine.ErrUnavailable, e.opts.Timeout)
		}
		return v, err
	})
}

// do is call for what gives no value.
func do(ctx context.Context, what string, op func() error) error {
	_, err := call(ctx, what, func() (struct{}, error) { return struct{}{}, op() })
	return err
}

// once is do for a call that must not be repeated.
func once[T any](what string, op func() (T, error)) (T, error) {
	v, err := op()
	if err != nil {
		return v, fmt.Errorf("%s: %w", what, classify(err))
	}
	return v, nil
}

func retrying[T any](ctx context.Context, what string, kind func(error) error, op func() (T, error)) (T, error) {
	made := 0
	v, err := backoff.Retry(ctx, func() (T, error) {
		made++
		v, err := op()
		if err = kind(err); err != nil && !errors.Is(err, engine.ErrTransient) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: 2 * time.Second,
	}), backoff.WithMaxTries(tries))
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = permanent.Err
	}
	switch {
	case err == nil:
		return v, nil
	case made > 1:
		return v, fmt.Errorf("%s (tried %d times): %w", what, made, err)
	default:
		return v, fmt.Errorf("%s: %w", what, err)
	}
}
