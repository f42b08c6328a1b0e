-- ARGV: ids of instances. Answers what `changes_since.lua` does, for these instances.
local answer = {redis.call('GET', revision) or '0', 0}
for _, id in ipairs(ARGV) do
  describe(answer, id, '0')
end
return answer
