package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/config"
)

// AlterConfigs answers key 33, versions 0 to 2 (KIP-133): what a request gives for
// a resource replaces everything that was set on it.
func AlterConfigs(d Deps) route.Route {
	return route.New(0, 2, func(ctx context.Context, s *route.Session, req *kmsg.AlterConfigsRequest, resp *kmsg.AlterConfigsResponse) *route.Pending {
		return route.Go(ctx, s, func(ctx context.Context) {
			asked := make([]alteration, len(req.Resources))
			for i, r := range req.Resources {
				asked[i] = alteration{kind: r.ResourceType, name: r.ResourceName, replace: true}
				for _, c := range r.Configs {
					asked[i].steps = append(asked[i].steps, step{key: c.Name, value: c.Value})
				}
			}
			for i, err := range d.alter(ctx, s, asked, req.ValidateOnly) {
				out := kmsg.NewAlterConfigsResponseResource()
				out.ResourceType, out.ResourceName = asked[i].kind, asked[i].name
				d.fill(err, &out.ErrorCode, &out.ErrorMessage)
				resp.Resources = append(resp.Resources, out)
			}
		})
	})
}

// alteration is what a request wants of one resource.
type alteration struct {
	kind    kmsg.ConfigResourceType
	name    string
	replace bool
	steps   []step
}

// target is the resource of an alteration.
type target struct {
	kind kmsg.ConfigResourceType
	name string
}

func (a alteration) named() target { return target{a.kind, a.name} }

// step is what a request wants of one key.
type step struct {
	key   string
	op    metadata.Op
	value *string
}

// alter checks and proposes alterations, all in one change; the errors are those
// of the resources, in order.
func (d *Deps) alter(ctx context.Context, s *route.Session, asked []alteration, validateOnly bool) []error {
	img := d.Image()
	twice := repeated(asked, alteration.named)
	errs := make([]error, len(asked))
	var c metadata.SetConfigs
	var planned []int
	for i, a := range asked {
		if twice[a.named()] {
			errs[i] = metadata.Refuse(kerr.InvalidRequest, "a resource may stand once in a request")
			continue
		}
		change, err := d.planAlteration(s, img, a)
		if errs[i] = err; err == nil {
			c.Changes, planned = append(c.Changes, change), append(planned, i)
		}
	}
	if validateOnly || len(c.Changes) == 0 {
		return errs
	}
	r, err := d.propose(ctx, 0, c)
	for i, at := range planned {
		errs[at] = proposed(r, err, i)
	}
	return errs
}

// planAlteration checks what is wanted of one resource, and that every value it
// leads to is one its key takes.
func (d *Deps) planAlteration(s *route.Session, img *metadata.Image, a alteration) (metadata.ConfigChange, error) {
	resource, keys, err := d.resource(s, img, a.kind, a.name, route.AlterConfigs)
	if err != nil {
		return metadata.ConfigChange{}, err
	}
	if len(repeated(a.steps, func(s step) string { return s.key })) > 0 {
		return metadata.ConfigChange{}, metadata.Refuse(kerr.InvalidRequest, "a key may stand once in a resource")
	}
	c := metadata.ConfigChange{Resource: resource, Replace: a.replace}
	for _, s := range a.steps {
		op, err := planStep(keys, s)
		if err != nil {
			return metadata.ConfigChange{}, err
		}
		c.Ops = append(c.Ops, op)
	}
	after := metadata.ApplyConfig(img.Config(resource), c)
	for _, op := range c.Ops {
		if err := checkStep(keys, resource, op, after); err != nil {
			return metadata.ConfigChange{}, err
		}
	}
	return c, nil
}

// planStep turns a step into an operation.
func planStep(keys *config.Set, s step) (metadata.ConfigOp, error) {
	op := metadata.ConfigOp{Key: s.key, Op: s.op}
	switch s.op {
	case metadata.Delete:
		return op, nil
	case metadata.Set:
	case metadata.Append, metadata.Subtract:
		k, ok := keys.Key(s.key)
		if ok && k.Type != config.List {
			return op, metadata.Refuse(kerr.InvalidConfig, "%s is a %s, only a list can be added to or taken from", s.key, k.Type)
		}
		if ok {
			op.Base = k.Default
		}
	default:
		return op, metadata.Refuse(kerr.InvalidRequest, "operation %d on %s is not known", s.op, s.key)
	}
	if s.value == nil {
		return op, metadata.Refuse(kerr.InvalidRequest, "%s has no value", s.key)
	}
	op.Value = *s.value
	return op, nil
}

// checkStep checks the value an operation leads to. Deleting a key that nobody
// knows is allowed: it was known once.
func checkStep(keys *config.Set, r metadata.Resource, op metadata.ConfigOp, after map[string]string) error {
	value, set := after[op.Key]
	if !set {
		return nil
	}
	k, known := keys.Key(op.Key)
	if known && r.Type == metadata.BrokerResource && !k.Dynamic {
		return metadata.Refuse(kerr.InvalidRequest, "%s needs a restart; set it where the node is started", op.Key)
	}
	if err := keys.Check(op.Key, value); err != nil {
		return metadata.Refuse(kerr.InvalidConfig, "%s", err)
	}
	return nil
}
