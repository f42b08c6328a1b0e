-- Shared by all scripts: they are loaded as one text after this one.

local instances, names, contracts = KEYS[1], KEYS[2], KEYS[3]
local leases, healths, registries = KEYS[4], KEYS[5], KEYS[6]
local changes, revision, history = KEYS[7], KEYS[8], KEYS[9]
local unused, weight = KEYS[10], KEYS[11]

-- Changes that are kept for followers: more than there are instances, so that removals stay among them for long.
local LONGEST_CHANGES = 40000
local LONGEST_HISTORY = 1000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- The next revision. It begins with the time, so that a server that lost its data does not repeat one.
local function rise()
  if redis.call('EXISTS', revision) == 0 then
    redis.call('SET', revision, whole(now_ms()))
  end
  return redis.call('INCR', revision)
end

-- Records a change of an instance for followers, and returns its revision.
local function mark(id)
  local number = rise()
  redis.call('ZADD', changes, whole(number), id)
  redis.call('ZREMRANGEBYRANK', changes, 0, -LONGEST_CHANGES - 1)
  return number
end

local function record(event)
  redis.call('LPUSH', history, event)
  redis.call('LTRIM', history, 0, LONGEST_HISTORY - 1)
end

-- Gives an instance to a registry, and returns the token of the lease.
local function take_lease(id, registry)
  local token = whole(mark(id))
  redis.call('HSET', leases, id, token .. ' ' .. registry)
  return token
end

-- The token of the newest lease of an instance, and its registry; nil without one.
local function lease_of(text)
  return string.match(text or '', '^(%d+) (%S+)$')
end

-- Appends what is stored about an instance: id, revision of its last change, entry, lease, health; false for what it has not.
local function describe(answer, id, number)
  table.insert(answer, id)
  table.insert(answer, number)
  table.insert(answer, redis.call('HGET', instances, id))
  table.insert(answer, redis.call('HGET', leases, id))
  table.insert(answer, redis.call('HGET', healths, id))
end

-- The entry of an instance, or nil; second result: whether it cannot be read.
local function entry_of(id)
  local text = redis.call('HGET', instances, id)
  if not text then
    return nil, false
  end
  local ok, entry = pcall(cjson.decode, text)
  if not ok or type(entry) ~= 'table' or type(entry.model) ~= 'string' or type(entry.fingerprint) ~= 'string' then
    return nil, true
  end
  return entry, false
end

-- The fingerprints that hold the name of a model, each with the number of instances that do so.
local function holders_of(model)
  local holders = {}
  for fingerprint, count in string.gmatch(redis.call('HGET', names, model) or '', '(%S+) (%d+)') do
    holders[fingerprint] = tonumber(count)
  end
  return holders
end

-- Counts one instance more, or less, that holds the name of a model; a free name has no holder left.
local function count_holder(model, fingerprint, by)
  local holders = holders_of(model)
  holders[fingerprint] = (holders[fingerprint] or 0) + by
  local words = {}
  for holder, count in pairs(holders) do
    if count > 0 then
      words[#words + 1] = holder .. ' ' .. whole(count)
    end
  end
  if #words > 0 then
    redis.call('HSET', names, model, table.concat(words, ' '))
  else
    redis.call('HDEL', names, model)
  end
end

local function touch(key)
  if redis.call('HEXISTS', contracts, key) == 1 then
    redis.call('ZADD', unused, whole(now_ms()), key)
  end
end

local function drop_contract(key)
  redis.call('DECRBY', weight, redis.call('HSTRLEN', contracts, key))
  redis.call('HDEL', contracts, key)
  redis.call('ZREM', unused, key)
end

-- What earlier releases did not keep: when contracts were last used, and their weight.
local function complete_contracts()
  if redis.call('HLEN', contracts) == redis.call('ZCARD', unused) and redis.call('EXISTS', weight) == 1 then
    return
  end
  local total = 0
  for _, key in ipairs(redis.call('HKEYS', contracts)) do
    redis.call('ZADD', unused, 'NX', whole(now_ms()), key)
    total = total + redis.call('HSTRLEN', contracts, key)
  end
  redis.call('SET', weight, whole(total))
end

-- The contracts that have not been used since a time in ms ('+inf': all that have no instance), longest unused first.
-- At most `most`; those found to have an instance are noted as used now.
local function unused_since(time, most)
  local found = {}
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', unused, '-inf', time)) do
    if #found >= most then
      break
    end
    local model, fingerprint = string.match(key, '^(.*) (%S+)$')
    if model and (holders_of(model)[fingerprint] or 0) > 0 then
      touch(key)
    else
      found[#found + 1] = key
    end
  end
  return found
end

-- Removes an instance; the last one frees the name of its model.
local function remove(id, entry)
  redis.call('HDEL', instances, id)
  count_holder(entry.model, entry.fingerprint, -1)
  touch(entry.model .. ' ' .. entry.fingerprint)
end

-- Removes an instance with all that is stored about it.
local function depart(id, entry)
  remove(id, entry)
  redis.call('HDEL', leases, id)
  redis.call('HDEL', healths, id)
  mark(id)
end
