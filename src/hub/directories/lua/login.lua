-- ARGV: id, entry, model, fingerprint, contract.
-- Answers false when the instance is in, else the fingerprint that holds the name, or 'undecodable entry'.
local id, entry, model, fingerprint, contract = unpack(ARGV)
local before, unreadable = entry_of(id)
if unreadable then
  return 'undecodable entry'
end
local holder, count = holder_of(model)
local others = count
if before and before.model == model then
  others = count - 1
end
if others > 0 and holder ~= fingerprint then
  return holder
end
if before then
  remove(id, before)
end
local _, rest = holder_of(model)
redis.call('HSET', instances, id, entry)
redis.call('HSET', names, model, fingerprint .. ' ' .. (rest + 1))
redis.call('HSETNX', contracts, model .. ' ' .. fingerprint, contract)
return false
