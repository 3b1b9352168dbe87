package admin

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
)

// LogDir is what DescribeLogDirs shows of one log directory.
type LogDir struct {
	Path          string
	Err           error // why the directory is offline
	Total, Usable int64 // bytes of its file system, -1 where not known
	Partitions    []LogSize
}

// LogSize is the size of one partition on disk.
type LogSize struct {
	Topic     string
	Partition int32
	Bytes     int64
}

// DescribeLogDirs answers key 35, versions 1 to 5 (KIP-113; v4 sizes of the file
// system, KIP-827; v5 cordoned directories, of which there are none).
func DescribeLogDirs(d Deps) route.Route {
	return route.New(1, 5, func(ctx context.Context, s *route.Session, req *kmsg.DescribeLogDirsRequest, resp *kmsg.DescribeLogDirsResponse) *route.Pending {
		resp.Dirs = []kmsg.DescribeLogDirsResponseDir{}
		if err := route.AuthorizeCluster(d.Authorizer, s, route.Describe); err != nil {
			resp.ErrorCode = route.Code(err) // v3; before it the list is just empty
			return nil
		}
		return route.Go(ctx, s, func(context.Context) {
			for _, dir := range d.LogDirs() {
				resp.Dirs = append(resp.Dirs, describeLogDir(&dir, req))
			}
		})
	})
}

func describeLogDir(dir *LogDir, req *kmsg.DescribeLogDirsRequest) kmsg.DescribeLogDirsResponseDir {
	out := kmsg.NewDescribeLogDirsResponseDir()
	out.ErrorCode, out.Dir, out.TotalBytes, out.UsableBytes = route.Code(dir.Err), dir.Path, dir.Total, dir.Usable
	out.Topics = []kmsg.DescribeLogDirsResponseDirTopic{}
	asked := map[string][]int32{}
	for _, t := range req.Topics {
		asked[t.Topic] = append(asked[t.Topic], t.Partitions...)
	}
	at := map[string]int{}
	for _, p := range dir.Partitions {
		if req.Topics != nil && !slices.Contains(asked[p.Topic], p.Partition) {
			continue
		}
		i, ok := at[p.Topic]
		if !ok {
			i = len(out.Topics)
			at[p.Topic] = i
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = p.Topic
			out.Topics = append(out.Topics, t)
		}
		q := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		q.Partition, q.Size = p.Partition, p.Bytes
		out.Topics[i].Partitions = append(out.Topics[i].Partitions, q)
	}
	return out
}
