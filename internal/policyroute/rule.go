package policyroute

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// change adds or deletes the rule of a way. The library would give the protocol
// four bytes where the kernel wants one.
func change(op int, w Way) error {
	port := binary.NativeEndian.AppendUint16(nil, w.Port)
	return send(op, w.Address.AsSlice(),
		nl.NewRtAttr(nl.FRA_IP_PROTO, []byte{unix.IPPROTO_TCP}),
		nl.NewRtAttr(nl.FRA_SPORT_RANGE, append(port, port...)))
}

// remove deletes a rule as it was listed.
func remove(r *netlink.Rule) error {
	if w, ok := wayOf(r); ok {
		return change(unix.RTM_DELRULE, w)
	}
	addr := netip.IPv4Unspecified().AsSlice()
	if r.Src != nil {
		addr = r.Src.IP
	}
	return send(unix.RTM_DELRULE, addr)
}

// send sends a rule for one address, with what narrows it.
func send(op int, from []byte, narrow ...*nl.RtAttr) error {
	flags := unix.NLM_F_ACK
	if op == unix.RTM_NEWRULE {
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	req := nl.NewNetlinkRequest(op, flags)
	msg := nl.NewRtMsg()
	msg.Family, msg.Table, msg.Type = unix.AF_INET, unix.RT_TABLE_UNSPEC, nl.FR_ACT_TO_TBL
	if len(from) == 16 {
		msg.Family = unix.AF_INET6
	}
	msg.Protocol, msg.Scope, msg.Src_len = 0, 0, uint8(8*len(from))
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(nl.FRA_SRC, from))
	req.AddData(nl.NewRtAttr(nl.FRA_PRIORITY, binary.NativeEndian.AppendUint32(nil, priority)))
	req.AddData(nl.NewRtAttr(nl.FRA_TABLE, binary.NativeEndian.AppendUint32(nil, table)))
	req.AddData(nl.NewRtAttr(nl.FRA_PROTOCOL, []byte{protocol}))
	for _, a := range narrow {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
