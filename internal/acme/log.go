package acme

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogCore passes what certmagic logs on to the agent's logger. What fails is
// told by State, so that nothing of it is above a warning; its progress is for
// those who look for it.
type slogCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(slogCore{log: log}) }

func level(l zapcore.Level) slog.Level {
	if l >= zapcore.WarnLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled says whether a level is logged at all.
func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(l))
}

// With adds fields to every entry.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log, append(slices.Clip(c.fields), fields...)}
}

// Check takes the entries of levels that are logged.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write logs one entry.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(c.fields), fields...) {
		f.AddTo(enc)
	}
	c.log.Log(context.Background(), level(e.Level), "acme", "what", e.Message, "fields", enc.Fields)
	return nil
}

// Sync has nothing to do.
func (slogCore) Sync() error { return nil }
