package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// ErrFenced means that another process runs under the same instance name.
var ErrFenced = errors.New("another process joined the group under the same name: is the state directory a copy")

// classify says which errors are final; every other one becomes an ErrRetry.
func classify(err error) error {
	if err == nil || errors.Is(err, runtime.ErrRetry) {
		return err
	}
	if errors.Is(err, kerr.FencedInstanceID) {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded, kgo.ErrClientClosed} {
		if errors.Is(err, ended) {
			return err
		}
	}
	for _, final := range []*kerr.Error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.InvalidTransactionTimeout,
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.UnsupportedVersion,
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
		kerr.InvalidTopicException, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID,
		kerr.InvalidSessionTimeout, kerr.InconsistentGroupProtocol, kerr.InvalidGroupID,
		kerr.OffsetMetadataTooLarge, kerr.GroupMaxSizeReached, kerr.PolicyViolation,
		kerr.UnsupportedForMessageFormat, kerr.InvalidConfig, kerr.InvalidReplicationFactor, kerr.InvalidPartitions,
	} {
		if errors.Is(err, final) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", runtime.ErrRetry, err)
}

// passing says that a commit may succeed in a moment, with the generation that
// the member has by then.
func passing(err error) bool {
	return errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) || kerr.IsRetriable(err)
}

// logger hands the messages of the client on: its errors and warnings, the rest
// for debugging.
type logger struct {
	log   *slog.Logger
	debug bool
}

func newLogger(ctx context.Context, log *slog.Logger) logger {
	return logger{log, log.Enabled(ctx, slog.LevelDebug)}
}

// Level implements kgo.Logger.
func (l logger) Level() kgo.LogLevel {
	if l.debug {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// Log implements kgo.Logger.
func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	attrs := []any{slog.String("message", msg)}
	for i := 0; i+1 < len(keyvals); i += 2 {
		attrs = append(attrs, slog.Any(fmt.Sprint(keyvals[i]), keyvals[i+1]))
	}
	if level == kgo.LogLevelError || level == kgo.LogLevelWarn {
		l.log.Warn("kafka client", attrs...)
		return
	}
	l.log.Debug("kafka client", attrs...)
}
