package holder

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// onMainThread runs f bound to the process's first thread, and returns when it
// has returned. Children die with the thread that started them, and of all
// threads an exec in place keeps only the one that calls it, as the first: so
// all three have to be the same one.
func onMainThread(f func()) error {
	const tries = 1000
	taken := make(chan struct{})
	defer close(taken)
	for range tries {
		done := make(chan bool, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if unix.Gettid() != os.Getpid() {
				done <- false
				<-taken // keep this thread, so that the next try gets another
				return
			}
			f()
			done <- true
		}()
		if <-done {
			return nil
		}
	}
	return errors.New("find the process's first thread: something keeps it busy")
}

// handled are the signals of a holder.
func handled() []os.Signal { return []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} }

// blockSignals keeps those signals for later, over an exec too.
func blockSignals() error {
	set := signalSet()
	return unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
}

// unblockSignals lets come what has waited.
func unblockSignals() {
	set := signalSet()
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil) // fails only for a wrong argument
}

func signalSet() (set unix.Sigset_t) {
	for _, s := range handled() {
		n := uint(s.(syscall.Signal)) - 1
		set.Val[n/64] |= 1 << (n % 64)
	}
	return set
}
