package hostfile

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// variable returns the name of the variable that sets path.
func variable(path string) string {
	return "REMORA_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// Settings returns the paths of all settings that a variable or a flag may
// set, in the order of the host file.
func Settings() []string { return settings(hostType(), "") }

func settings(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case settable(ft):
			paths = append(paths, prefix+name)
		case ft.Kind() == reflect.Struct:
			paths = append(paths, settings(ft, prefix+name+".")...)
		}
	}
	return paths
}

func settable(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int:
		return true
	case reflect.Slice:
		return t.Elem().Kind() == reflect.String || t.Elem().Kind() == reflect.Uint16
	case reflect.Map:
		return t.Elem().Kind() == reflect.String
	}
	return false
}

// set gives the setting at path its value.
func set(v reflect.Value, path, value string) error {
	name, rest, nested := strings.Cut(path, ".")
	for i := range v.NumField() {
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if tag != name || name == "-" {
			continue
		}
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				f.Set(reflect.New(f.Type().Elem()))
			}
			f = f.Elem()
		}
		if nested && f.Kind() == reflect.Struct {
			return set(f, rest, value)
		}
		if nested || !settable(f.Type()) {
			break
		}
		return setValue(f, value)
	}
	return fmt.Errorf("no setting %q", path)
}

func setValue(f reflect.Value, value string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](f.Addr()); ok {
		return u.UnmarshalText([]byte(value))
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(value)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		f.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is no whole number", value)
		}
		f.SetInt(int64(n))
	case reflect.Slice:
		return setList(f, value)
	case reflect.Map:
		return setMap(f, value)
	}
	return nil
}

func setList(f reflect.Value, value string) error {
	list := reflect.MakeSlice(f.Type(), 0, 4)
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if f.Type().Elem().Kind() == reflect.String {
			list = reflect.Append(list, reflect.ValueOf(item))
			continue
		}
		n, err := strconv.ParseUint(item, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no port number", item)
		}
		list = reflect.Append(list, reflect.ValueOf(uint16(n)))
	}
	f.Set(list)
	return nil
}

func setMap(f reflect.Value, value string) error {
	m := reflect.MakeMap(f.Type())
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		k, v, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("%q is no key=value", item)
		}
		m.SetMapIndex(reflect.ValueOf(k), reflect.ValueOf(v))
	}
	f.Set(m)
	return nil
}

func hostType() reflect.Type { return reflect.TypeFor[manifests.Host]() }
