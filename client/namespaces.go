package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"example.com/bus"
)

// Namespaces returns what the server says of its namespaces, by name.
func (c *Client) Namespaces(ctx context.Context) ([]bus.NamespaceInfo, error) {
	var answer struct{ Namespaces []bus.NamespaceInfo }
	err := c.admin(ctx, http.MethodGet, "v1/namespaces", nil, nil, &answer)
	return answer.Namespaces, err
}

// Namespace returns what the server says of one. Of one that is not declared the error is
// bus.ErrUnknownNamespace.
func (c *Client) Namespace(ctx context.Context, name string) (info bus.NamespaceInfo, err error) {
	return c.namespace(ctx, http.MethodGet, name, nil)
}

// DeclareNamespace has the server take events of a namespace, also after its next start. With
// retention, which may be nil, it changes how much of it is kept, of one that is there too;
// MaxAge may also be written like 7d. With Compact only the newest event of each subject is kept
// for good. A second call changes nothing. bus.ErrAdminOnly where the
// server was not started with --admin, as for the others that change something.
func (c *Client) DeclareNamespace(ctx context.Context, name string, retention *bus.RetentionInfo) (bus.NamespaceInfo, error) {
	body := []byte("{}")
	if retention != nil {
		var err error
		if body, err = json.Marshal(map[string]any{"retention": retention}); err != nil {
			return bus.NamespaceInfo{}, err
		}
	}
	return c.namespace(ctx, http.MethodPut, name, body)
}

// PurgeNamespace deletes the events in front of an index, as far as they fill whole segments of
// the log. A second call deletes nothing more.
func (c *Client) PurgeNamespace(ctx context.Context, name string, before uint64) (info bus.NamespaceInfo, err error) {
	path, err := namespacePath(name, "purge")
	if err != nil {
		return info, err
	}
	err = c.admin(ctx, http.MethodPost, path, url.Values{"before": {strconv.FormatUint(before, 10)}}, nil, &info)
	return info, err
}

// DeleteNamespace deletes a namespace with all its events and named consumers; nothing brings
// them back. A second call is bus.ErrUnknownNamespace, one of --namespaces
// bus.ErrDeclaredAtStart.
func (c *Client) DeleteNamespace(ctx context.Context, name string) error {
	if err := bus.CheckNamespace(name); err != nil {
		return err
	}
	return c.admin(ctx, http.MethodDelete, "v1/namespaces/"+name, url.Values{"confirm": {name}}, nil, nil)
}

func (c *Client) namespace(ctx context.Context, method, name string, body []byte) (info bus.NamespaceInfo, err error) {
	if err := bus.CheckNamespace(name); err != nil {
		return info, err
	}
	err = c.admin(ctx, method, "v1/namespaces/"+name, nil, body, &info)
	return info, err
}

// DeleteEvent deletes one event for good, named by its id or by its index in digits ("id:42"
// for a publisher's id that is a number): what was in it is nowhere in what the server keeps
// when this returns nil, and its index stays. Streams say a gap there, with the reason
// "deleted". Copies elsewhere, and what subscribers have, are not its business. A second call
// answers Already, of an id that says its index, and finishes what an error or a crash has cut
// short; any other id is bus.ErrUnknownEvent from then on, as is what never was there.
// bus.ErrCorrupt while the file that it is in is damaged.
func (c *Client) DeleteEvent(ctx context.Context, namespace, event string) (did bus.DeletedEvent, err error) {
	id := strings.TrimPrefix(event, "id:")
	if err := bus.CheckID(id); err != nil {
		return did, err
	}
	path, err := namespacePath(namespace, "events/"+event)
	if err != nil {
		return did, err
	}
	err = c.admin(ctx, http.MethodDelete, path, nil, nil, &did)
	return did, err
}
