package admin

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/config"
)

// DescribeConfigs answers key 32, versions 1 to 4 (KIP-133, KIP-226 synonyms,
// KIP-569 types and documentation): every key of a topic or of a broker, with its
// value and where it comes from; of all brokers only what is set. Secrets are null.
func DescribeConfigs(d Deps) route.Route {
	return route.New(1, 4, func(_ context.Context, s *route.Session, req *kmsg.DescribeConfigsRequest, resp *kmsg.DescribeConfigsResponse) *route.Pending {
		img := d.Image()
		for i := range req.Resources {
			r := &req.Resources[i]
			out := kmsg.NewDescribeConfigsResponseResource()
			out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
			configs, err := d.describeResource(s, img, req, r)
			d.fill(err, &out.ErrorCode, &out.ErrorMessage)
			out.Configs = append([]kmsg.DescribeConfigsResponseResourceConfig{}, configs...)
			resp.Resources = append(resp.Resources, out)
		}
		return nil
	})
}

func (d *Deps) describeResource(s *route.Session, img *metadata.Image, req *kmsg.DescribeConfigsRequest, r *kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	resource, keys, err := d.resource(s, img, r.ResourceType, r.ResourceName, route.DescribeConfigs)
	if err != nil {
		return nil, err
	}
	var scopes config.Scopes
	shared := resource.Type == metadata.BrokerResource && resource.Name == ""
	switch {
	case shared:
		scopes = config.Scopes{BrokerDefault: img.Config(resource)}
	case resource.Type == metadata.BrokerResource:
		scopes = d.scopes(img, nil)
		scopes.Broker = img.Config(resource)
	default:
		scopes = d.scopes(img, img.Config(resource))
	}
	var out []kmsg.DescribeConfigsResponseResourceConfig
	for i := range keys.Keys() {
		k := &keys.Keys()[i]
		if len(r.ConfigNames) > 0 && !slices.Contains(r.ConfigNames, k.Name) {
			continue
		}
		values := k.Candidates(scopes)
		if shared {
			values = values[:len(values)-1] // the default is not set on all brokers
		}
		if len(values) > 0 {
			out = append(out, describeKey(k, values, req, resource))
		}
	}
	return out, nil
}

// describeKey shows one key; values has the deciding one first.
func describeKey(k *config.Key, values []config.Candidate, req *kmsg.DescribeConfigsRequest, r metadata.Resource) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value = k.Name, shown(k, values[0])
	out.ReadOnly = r.Type == metadata.BrokerResource && !k.Dynamic
	out.Source, out.IsSensitive = kafkaSource(values[0].Source), k.Sensitive()
	out.ConfigType = kmsg.ConfigType(k.Type)
	if req.IncludeSynonyms {
		for _, v := range values {
			if !v.Null {
				syn := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
				syn.Name, syn.Value, syn.Source = v.Name, shown(k, v), kafkaSource(v.Source)
				out.ConfigSynonyms = append(out.ConfigSynonyms, syn)
			}
		}
	}
	if req.IncludeDocumentation {
		doc := k.Doc
		if k.Ignored != "" {
			doc = "Accepted without effect: " + k.Ignored + "."
		}
		out.Documentation = &doc
	}
	return out
}

// resource finds what a request about configs names and the keys it has.
func (d *Deps) resource(s *route.Session, img *metadata.Image, t kmsg.ConfigResourceType, name string, op route.Operation) (metadata.Resource, *config.Set, error) {
	none := metadata.Resource{}
	switch t { //nolint:exhaustive // the others have no configs here
	case kmsg.ConfigResourceTypeTopic:
		if err := route.AuthorizeTopic(d.Authorizer, s, op, name); err != nil {
			return none, nil, err
		}
		if err := metadata.CheckName(name); err != nil {
			return none, nil, err
		}
		if _, ok := img.Topic(name); !ok {
			return none, nil, metadata.Refuse(kerr.UnknownTopicOrPartition, "there is no topic %q", name)
		}
		return metadata.Resource{Type: metadata.TopicResource, Name: name}, d.TopicKeys, nil
	case kmsg.ConfigResourceTypeBroker:
		if err := route.AuthorizeCluster(d.Authorizer, s, op); err != nil {
			return none, nil, err
		}
		if err := checkBroker(img, name); err != nil {
			return none, nil, err
		}
		return metadata.Resource{Type: metadata.BrokerResource, Name: name}, d.BrokerKeys, nil
	}
	return none, nil, metadata.Refuse(kerr.InvalidRequest, "resources of type %d have no configs", t)
}

// checkBroker takes the id of a registered broker, or "" for all of them.
func checkBroker(img *metadata.Image, name string) error {
	if name == "" {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || strconv.FormatInt(id, 10) != name {
		return metadata.Refuse(kerr.InvalidRequest, "%q is not the id of a broker", name)
	}
	if _, ok := img.Broker(int32(id)); !ok {
		return metadata.Refuse(kerr.InvalidRequest, "broker %d is not registered", id)
	}
	return nil
}
